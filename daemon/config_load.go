package daemon

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"

	"github.com/cloned-db/cloned/errs"
)

// LoadConfig reads the file at the path, or, with an empty path, that at
// DefaultConfigFile if it exists. An unknown key, a value that is not of its
// kind and a setting that makes no sense are errs.Invalid, with the place in
// the file.
func LoadConfig(path string) (Config, error) {
	named := path != ""
	if !named {
		path = DefaultConfigFile()
	}
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) && !named {
		data, err = nil, nil
	}
	if err != nil {
		return Config{}, errs.New(errs.Invalid, "CONFIG_UNREADABLE", "reading the configuration: %w", err)
	}
	return ParseConfig(path, data)
}

// ParseConfig reads a configuration; name stands for the file in errors.
func ParseConfig(name string, data []byte) (Config, error) {
	cfg := DefaultConfig()
	file, err := parser.ParseBytes(data, 0)
	if err != nil {
		return Config{}, syntaxError(name, err)
	}
	if len(file.Docs) > 1 {
		return Config{}, configError(name, file.Docs[1].Start, "a second YAML document: only one is read")
	}
	if len(file.Docs) == 1 && hasContent(file.Docs[0]) {
		if err := yaml.NodeToValue(file.Docs[0].Body, &cfg, yaml.Strict()); err != nil {
			return Config{}, syntaxError(name, err)
		}
	}
	if err := cfg.Validate(); err != nil {
		e := errs.As(err)
		return Config{}, configError(name, place(file, e.Field), "%s", e.Message).WithHint("%s", e.Hint)
	}
	return cfg, nil
}

// hasContent is false for a document of comments only.
func hasContent(doc *ast.DocumentNode) bool {
	if doc.Body == nil {
		return false
	}
	_, comments := doc.Body.(*ast.CommentGroupNode)
	return !comments
}

// syntaxError puts an error of the YAML library in our form, with its line
// and column.
func syntaxError(name string, err error) error {
	var positioned yaml.Error
	if errors.As(err, &positioned) && positioned.GetToken() != nil {
		at := positioned.GetToken()
		return errs.New(errs.Invalid, "INVALID_CONFIG", "%s: line %d, column %d: %s%s", name, at.Position.Line, at.Position.Column, keyOf(at), positioned.GetMessage())
	}
	return errs.New(errs.Invalid, "INVALID_CONFIG", "%s: %w", name, err)
}

// keyOf returns "KEY: " for the token of a value.
func keyOf(value *token.Token) string {
	if colon := value.Prev; colon != nil && colon.Type == token.MappingValueType && colon.Prev != nil {
		return colon.Prev.Value + ": "
	}
	return ""
}

func configError(name string, at *token.Token, format string, args ...any) *errs.Error {
	if at != nil {
		name = fmt.Sprintf("%s: line %d, column %d", name, at.Position.Line, at.Position.Column)
	}
	return errs.New(errs.Invalid, "INVALID_CONFIG", "%s: %s", name, fmt.Sprintf(format, args...))
}

// place returns where the value of a field such as "clones.ports" is, or nil if
// the file does not have it.
func place(file *ast.File, field string) *token.Token {
	path, err := yaml.PathString("$." + field)
	if field == "" || err != nil || len(file.Docs) == 0 {
		return nil
	}
	node, err := path.FilterFile(file)
	if err != nil || node == nil {
		return nil
	}
	return node.GetToken()
}
