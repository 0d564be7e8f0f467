package http

import (
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"strings"

	"github.com/go-playground/validator/v10"

	"varve/domain"
)

// checker holds bodies to their validate tags. Beside the library's tags:
// name (letters, digits, "_", "-", ".", " "; no slash, no control character).
var checker = func() *validator.Validate {
	v := validator.New(validator.WithRequiredStructEnabled())
	v.RegisterTagNameFunc(func(f reflect.StructField) string {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case name == "-":
			return ""
		case name == "" && f.Anonymous:
			return embedded
		}
		return name
	})
	if err := v.RegisterValidation("name", func(f validator.FieldLevel) bool { return resourceName.MatchString(f.Field().String()) }); err != nil {
		panic(err)
	}
	return v
}()

var resourceName = regexp.MustCompile(`^[\p{L}\p{N}][\p{L}\p{N} ._:@+-]*$`)

// embedded stands in a path for an embedded struct, which the wire does not know.
const embedded = "\x00"

// validate names every value of a struct that breaks its validate tag.
func validate(v reflect.Value) []domain.Violation {
	var err error
	switch v.Kind() {
	case reflect.Struct:
		err = checker.Struct(v.Interface())
	case reflect.Slice:
		err = checker.Var(v.Interface(), "dive")
	default:
		return nil
	}
	var wrong validator.ValidationErrors
	if !errors.As(err, &wrong) {
		return nil
	}
	list := make([]domain.Violation, 0, len(wrong))
	for _, w := range wrong {
		path := w.Namespace()
		if v.Kind() == reflect.Struct {
			_, path, _ = strings.Cut(path, ".")
			path = strings.ReplaceAll(path, embedded+".", "")
		}
		kind, message := rule(w)
		list = append(list, domain.Violation{Path: path, Type: kind, Message: message})
	}
	return list
}

// rule says in words what a tag asks.
func rule(w validator.FieldError) (kind, message string) {
	unit := ""
	switch w.Kind() {
	case reflect.String:
		unit = " characters long"
	case reflect.Slice, reflect.Map, reflect.Array:
		unit = " items long"
	}
	switch w.Tag() {
	case "required":
		return "missing", "is required and must not be empty"
	case "min", "gte":
		return "range", fmt.Sprintf("must be at least %s%s", w.Param(), unit)
	case "max", "lte":
		return "range", fmt.Sprintf("must be at most %s%s", w.Param(), unit)
	case "len":
		return "range", fmt.Sprintf("must be exactly %s%s", w.Param(), unit)
	case "gt":
		return "range", "must be more than " + w.Param()
	case "lt":
		return "range", "must be less than " + w.Param()
	case "oneof":
		return "enum", fmt.Sprintf("is %q; it must be one of %s", fmt.Sprint(w.Value()), strings.Join(strings.Fields(w.Param()), ", "))
	case "email":
		return "email", fmt.Sprintf("%q is not an e-mail address", fmt.Sprint(w.Value()))
	case "url", "http_url":
		return "url", fmt.Sprintf("%q is not a URL", fmt.Sprint(w.Value()))
	case "unique":
		return "unique", "names something twice"
	case "name":
		return "pattern", "must begin with a letter or digit and hold letters, digits, spaces and . _ : @ + - only"
	}
	return w.Tag(), "does not fit the rule " + w.Tag()
}
