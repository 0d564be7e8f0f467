package domain_test

import (
	"encoding/json"
	"fmt"

	"varve/domain"
)

func ExampleParseFilter() {
	f, err := domain.ParseFilter("filters", json.RawMessage(`{"category": "shoes", "NOT": {"field": "price", "operator": "gt", "value": 100}}`))
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(f)
	doc, _ := domain.DecodeObject([]byte(`{"category": "Shoes", "price": 120.00}`))
	_, why := f.MatchExplain(doc)
	fmt.Println(why)

	_, err = domain.ParseFilter("filters", json.RawMessage(`{"AND": [null]}`))
	fmt.Println(err)
	// Output:
	// {"AND":[{"NOT":[{"field":"price","operator":"gt","value":100}]},{"field":"category","operator":"eq","value":"shoes"}]}
	// not price gt 100: found 120.00
	// filters.AND[0]: a condition is null, it was probably lost on the way; give {"field", "operator", "value"} or an AND, OR or NOT
}

func ExampleResolveFilter() {
	f, _ := domain.ParseFilter("filters", json.RawMessage(`{"AND": [{"brand": "{{INPUT.brand}}"}, {"field": "price", "operator": "lte", "value": {"type": "dynamic", "field": "inputs.most"}}]}`))
	schema, _ := domain.ParseInputSchema("input_schema", json.RawMessage(`{"brand": {"type": "string"}, "most": {"type": "number", "default": 100}}`))
	inputs, _ := schema.Apply(nil)
	resolved, err := domain.ResolveFilter(f, domain.TemplateEnv{Input: inputs, Optional: schema.Optional()})
	fmt.Println(resolved, err)
	// Output: {"AND":[{"field":"price","operator":"lte","value":100}]} <nil>
}

func ExampleRender() {
	env := domain.TemplateEnv{Input: map[string]any{"query": "red shoes", "limit": json.Number("5")}}
	out, err := domain.Render(json.RawMessage(`{"query": "find {{INPUT.query | upper}}", "limit": "{{INPUT.limit}}"}`), env)
	fmt.Println(string(out), err)
	// Output: {"limit":5,"query":"find RED SHOES"} <nil>
}
