// Protodeps writes the .proto files that the API imports from Go modules, so
// that buf finds them at the version that go.mod pins and without a network.
//
//	go run ./scripts/protodeps build/protodeps
package main

import (
	"fmt"
	"os"

	validate "buf.build/gen/go/bufbuild/protovalidate/protocolbuffers/go/buf/validate"
	"github.com/jhump/protoreflect/v2/protoprint"
	"google.golang.org/protobuf/reflect/protoreflect"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: protodeps DIR")
		os.Exit(2)
	}
	printer := &protoprint.Printer{}
	files := []protoreflect.FileDescriptor{validate.File_buf_validate_validate_proto}
	if err := printer.PrintProtosToFileSystem(files, os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "protodeps:", err)
		os.Exit(1)
	}
}
