package openapi

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"sync"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// location names the document for the compiler; nothing is read from there.
const documentURL = "varve:///openapi.json"

var compiler = sync.OnceValues(func() (*jsonschema.Compiler, error) {
	c := jsonschema.NewCompiler()
	c.DefaultDraft(jsonschema.Draft2020)
	c.AssertFormat()
	c.UseLoader(noLoader{})
	return c, c.AddResource(documentURL, load().document)
})

type noLoader struct{}

// Load refuses: the document refers to nothing outside itself.
func (noLoader) Load(url string) (any, error) {
	return nil, fmt.Errorf("the document refers to %s outside itself", url)
}

var (
	compiled  sync.Map // pointer → *jsonschema.Schema
	compiling sync.Mutex
)

func schemaAt(pointer string) (*jsonschema.Schema, error) {
	if s, ok := compiled.Load(pointer); ok {
		return s.(*jsonschema.Schema), nil
	}
	compiling.Lock()
	defer compiling.Unlock()
	c, err := compiler()
	if err != nil {
		return nil, fmt.Errorf("read the document: %w", err)
	}
	s, err := c.Compile(documentURL + "#" + pointer)
	if err != nil {
		return nil, fmt.Errorf("compile %s: %w", pointer, err)
	}
	compiled.Store(pointer, s)
	return s, nil
}

// Problem is one way in which an answer breaks the contract.
type Problem struct {
	Where string // JSON pointer into the answer
	What  string
}

// ContractError lists how an answer breaks the contract.
type ContractError struct {
	Operation string
	Status    int
	Problems  []Problem
}

// Error names every problem by its place.
func (e *ContractError) Error() string {
	texts := make([]string, len(e.Problems))
	for i, p := range e.Problems {
		texts[i] = p.Where + ": " + p.What
	}
	return fmt.Sprintf("answer %d of %s breaks the contract: %s", e.Status, e.Operation, strings.Join(texts, "; "))
}

// ValidateResponse holds an answer to the document: the path (concrete or as
// the document writes it) must be an operation, a success must have exactly
// the declared status, and the body must fit the declared schema. Errors are
// *ContractError.
func ValidateResponse(method, path string, status int, body []byte) error {
	path, _, _ = strings.Cut(path, "?")
	o, ok := Find(method, path)
	fail := func(where, format string, args ...any) error {
		return &ContractError{Operation: method + " " + path, Status: status, Problems: []Problem{{where, fmt.Sprintf(format, args...)}}}
	}
	if !ok {
		return fail("", "the document has no such operation")
	}
	key := fmt.Sprint(status)
	declared, ok := o.responses[key]
	if !ok && status < 300 {
		return fail("", "success must be %d: the client reads no other", o.Success())
	}
	if !ok {
		declared = o.responses["default"]
	}
	pointer := "/paths/" + escape(o.Path) + "/" + strings.ToLower(method) + "/responses/" + key
	response, _ := declared.(map[string]any)
	if ref, ok := response["$ref"].(string); ok {
		pointer = strings.TrimPrefix(ref, "#")
		name := ref[strings.LastIndex(ref, "/")+1:]
		response, _ = load().document["components"].(map[string]any)["responses"].(map[string]any)[name].(map[string]any)
	}
	content, _ := response["content"].(map[string]any)
	if len(content) == 0 {
		if len(bytes.TrimSpace(body)) > 0 {
			return fail("", "the body must be empty")
		}
		return nil
	}
	if _, isJSON := content["application/json"]; !isJSON {
		return nil
	}
	schema, err := schemaAt(pointer + "/content/application~1json/schema")
	if err != nil {
		return err
	}
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(body))
	if err != nil {
		return fail("", "is not JSON: %v", err)
	}
	err = schema.Validate(value)
	var wrong *jsonschema.ValidationError
	if errors.As(err, &wrong) {
		return &ContractError{Operation: o.Method + " " + o.Path, Status: status, Problems: problems(wrong)}
	}
	return err
}

func escape(path string) string {
	return url.PathEscape(strings.ReplaceAll(strings.ReplaceAll(path, "~", "~0"), "/", "~1"))
}

// problems flattens an error to what is wrong at the leaves.
func problems(e *jsonschema.ValidationError) []Problem {
	var list []Problem
	for _, unit := range e.BasicOutput().Errors {
		if unit.Error == nil {
			continue
		}
		text, err := json.Marshal(unit.Error)
		if err != nil {
			text = []byte(err.Error())
		}
		what := strings.Trim(string(text), `"`)
		if strings.HasPrefix(what, "validation failed") {
			continue
		}
		list = append(list, Problem{Where: unit.InstanceLocation, What: what})
	}
	if len(list) == 0 {
		list = []Problem{{What: e.Error()}}
	}
	return list
}
