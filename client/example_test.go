package client_test

import (
	"context"
	"fmt"
	"log"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/cloned-db/cloned/client"
	"github.com/cloned-db/cloned/errs"
	clonedv1 "github.com/cloned-db/cloned/proto/cloned/v1"
)

// A CI job takes a database of its own and gives it back. If the job dies, the
// clone's TTL ends it.
func Example() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	c, err := client.Dial(ctx, "") // CLONED_HOST, or the daemon's default socket
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()

	clone, _, err := c.CreateAndWait(ctx, &clonedv1.CreateCloneRequest{
		Name: "ci-1234", Golden: "shop", Branch: "main", Ttl: durationpb.New(time.Hour),
	})
	if errs.Is(err, errs.Exhausted) {
		log.Fatalf("no room for a clone: %v (%s)", err, errs.As(err).Hint)
	}
	if err != nil {
		log.Fatalf("%v (request %s)", err, client.RequestID(err))
	}
	fmt.Println("DATABASE_URL=" + clone.GetEndpoint().GetUrl())

	if _, err := c.Clones.DeleteClone(ctx, &clonedv1.DeleteCloneRequest{Name: clone.GetName()}); err != nil {
		log.Fatal(err)
	}
}
