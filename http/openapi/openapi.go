// Package openapi holds the contract of the API: the reference's wire shapes
// (reference.json.gz, an OpenAPI 3.1 document without prose) and our own paths
// (own/*.json, one file per noun). Routes and answers are tested against it.
package openapi

import (
	"bytes"
	"compress/gzip"
	"embed"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"sort"
	"strings"
	"sync"
)

//go:embed reference.json.gz own/*.json
var files embed.FS

// Operation is one operation of the document.
type Operation struct {
	Method string // "POST"
	Path   string // "/v1/buckets/{bucket_identifier}", as the document writes it
	ID     string // operationId
	Tag    string
	Public bool // asks for no key
	// Namespace says that clients send X-Namespace with it. A route must not
	// require a namespace where this is false.
	Namespace bool
	Own       bool // ours, not the reference's

	responses map[string]any
}

// BodyMembers lists the members that the document knows in the operation's
// JSON body; none where it has no body or a free one.
func (o Operation) BodyMembers() []string {
	c := load()
	op := c.document["paths"].(map[string]any)[o.Path].(map[string]any)[strings.ToLower(o.Method)].(map[string]any)
	body, _ := op["requestBody"].(map[string]any)
	content, _ := body["content"].(map[string]any)
	media, _ := content["application/json"].(map[string]any)
	schema, _ := media["schema"].(map[string]any)
	if ref, ok := schema["$ref"].(string); ok {
		schema, _ = c.document["components"].(map[string]any)["schemas"].(map[string]any)[ref[strings.LastIndex(ref, "/")+1:]].(map[string]any)
	}
	properties, _ := schema["properties"].(map[string]any)
	return slices.Sorted(maps.Keys(properties))
}

// Success is the status that the client reads: 200, 202 or 204.
func (o Operation) Success() int {
	for _, status := range []int{200, 202, 204} {
		if _, ok := o.responses[fmt.Sprint(status)]; ok {
			return status
		}
	}
	return 200
}

type contract struct {
	document   map[string]any
	operations []Operation
}

var load = sync.OnceValue(func() contract {
	c, err := read()
	if err != nil {
		panic("openapi: " + err.Error()) // the files are embedded: this is a build that no test saw
	}
	return c
})

func read() (contract, error) {
	packed, err := files.ReadFile("reference.json.gz")
	if err != nil {
		return contract{}, err
	}
	unpacked, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return contract{}, err
	}
	raw, err := io.ReadAll(unpacked)
	if err != nil {
		return contract{}, err
	}
	var doc map[string]any
	if err := decode(raw, &doc); err != nil {
		return contract{}, err
	}
	c := contract{document: doc}
	if err := c.collect(doc["paths"].(map[string]any), false); err != nil {
		return c, err
	}
	names, err := files.ReadDir("own")
	if err != nil {
		return c, err
	}
	for _, n := range names {
		if err := c.merge("own/" + n.Name()); err != nil {
			return c, fmt.Errorf("%s: %w", n.Name(), err)
		}
	}
	sort.Slice(c.operations, func(i, j int) bool {
		a, b := c.operations[i], c.operations[j]
		return a.Path < b.Path || a.Path == b.Path && a.Method < b.Method
	})
	return c, nil
}

func decode(raw []byte, into any) error {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	return d.Decode(into)
}

// merge adds the paths and schemas of one of our files. Nothing of the
// reference may be replaced.
func (c *contract) merge(file string) error {
	raw, err := files.ReadFile(file)
	if err != nil {
		return err
	}
	var own struct {
		Paths   map[string]any
		Schemas map[string]any
	}
	if err := decode(raw, &own); err != nil {
		return err
	}
	if err := c.collect(own.Paths, true); err != nil {
		return err
	}
	paths := c.document["paths"].(map[string]any)
	for path, item := range own.Paths {
		there, ok := paths[path].(map[string]any)
		if !ok {
			paths[path] = item
			continue
		}
		for method, op := range item.(map[string]any) {
			if _, twice := there[method]; twice {
				return fmt.Errorf("%s %s is in the document already", method, path)
			}
			there[method] = op
		}
	}
	schemas := c.document["components"].(map[string]any)["schemas"].(map[string]any)
	for name, s := range own.Schemas {
		if _, twice := schemas[name]; twice {
			return fmt.Errorf("schema %s is in the document already", name)
		}
		schemas[name] = s
	}
	return nil
}

var methods = []string{"get", "post", "put", "patch", "delete"}

func (c *contract) collect(paths map[string]any, own bool) error {
	for path, item := range paths {
		for method, v := range item.(map[string]any) {
			if !slices.Contains(methods, method) {
				return fmt.Errorf("%s: %q is not a method", path, method)
			}
			op := v.(map[string]any)
			o := Operation{Method: strings.ToUpper(method), Path: path, Own: own}
			o.ID, _ = op["operationId"].(string)
			if tags, ok := op["tags"].([]any); ok && len(tags) > 0 {
				o.Tag, _ = tags[0].(string)
			}
			security, stated := op["security"].([]any)
			o.Public = stated && len(security) == 0
			if stated && !o.Public {
				_, o.Namespace = security[0].(map[string]any)["NamespaceHeader"]
			}
			o.responses, _ = op["responses"].(map[string]any)
			if o.ID == "" || o.responses == nil {
				return fmt.Errorf("%s %s lacks operationId or responses", method, path)
			}
			c.operations = append(c.operations, o)
		}
	}
	return nil
}

// Operations lists the document's operations, sorted by path and method.
func Operations() []Operation { return slices.Clone(load().operations) }

// Document gives the document as JSON. Operations that served denies are
// marked x-varve-state: not_enabled and x-mcp-hidden, so that tools built from
// the document do not offer them.
func Document(version string, served func(Operation) bool) ([]byte, error) {
	c := load()
	doc := make(map[string]any, len(c.document))
	for k, v := range c.document {
		doc[k] = v
	}
	doc["info"] = map[string]any{"title": "Varve", "version": version, "summary": "an event-sourced warehouse for multimodal data, with the wire shapes of the reference API 0.82"}
	paths := map[string]any{}
	for _, o := range c.operations {
		item, _ := paths[o.Path].(map[string]any)
		if item == nil {
			item = map[string]any{}
			paths[o.Path] = item
		}
		method := strings.ToLower(o.Method)
		op := c.document["paths"].(map[string]any)[o.Path].(map[string]any)[method].(map[string]any)
		if !served(o) {
			marked := map[string]any{"x-varve-state": "not_enabled", "x-mcp-hidden": true}
			for k, v := range op {
				marked[k] = v
			}
			op = marked
		}
		item[method] = op
	}
	doc["paths"] = paths
	return json.Marshal(doc)
}

// Find gives the operation that a concrete path belongs to. Literal segments
// win over parameters, as in the router.
func Find(method, path string) (Operation, bool) {
	var best Operation
	bestScore := -1
	want := strings.Split(strings.Trim(path, "/"), "/")
	for _, o := range load().operations {
		if o.Method != method {
			continue
		}
		score, ok := fit(strings.Split(strings.Trim(o.Path, "/"), "/"), want)
		if ok && score > bestScore {
			best, bestScore = o, score
		}
	}
	return best, bestScore >= 0
}

// fit scores how literally a pattern fits; earlier literal segments weigh more.
func fit(pattern, path []string) (int, bool) {
	if len(pattern) != len(path) {
		return 0, false
	}
	score := 0
	for i, p := range pattern {
		score *= 2
		switch {
		case strings.HasPrefix(p, "{"):
		case p == path[i]:
			score++
		default:
			return 0, false
		}
	}
	return score, true
}
