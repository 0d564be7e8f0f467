package domain

import (
	"net/mail"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// CheckName refuses names that are empty, too short or long (in characters),
// not UTF-8, padded with spaces, or that hold control characters.
func CheckName(path, name string, least, most int) error {
	n := utf8.RuneCountInString(name)
	switch {
	case !utf8.ValidString(name):
		return Invalid(path, "encoding", "the name is not valid UTF-8")
	case n < least || n > most:
		return Invalid(path, "length", "%q has %d characters; allowed are %d to %d", name, n, least, most)
	case strings.TrimSpace(name) != name:
		return Invalid(path, "pattern", "%q begins or ends with white space", name)
	case strings.ContainsFunc(name, unicode.IsControl):
		return Invalid(path, "pattern", "%q holds a control character", name)
	}
	return nil
}

// CheckEmail refuses what is not a bare e-mail address.
func CheckEmail(path, email string) error {
	a, err := mail.ParseAddress(email)
	if err != nil || a.Address != email {
		return Invalid(path, "email", "%q is not an e-mail address, such as name@example.com", email)
	}
	return nil
}

var namespaceID = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_-]{0,127}$`)

// CheckNamespaceID refuses ids that the reference's pattern does not allow.
func CheckNamespaceID(path, id string) error {
	if !namespaceID.MatchString(id) {
		return Invalid(path, "pattern", "%q is not a namespace id: letters, digits, _ and -, at most 128, the first a letter or digit", id)
	}
	return nil
}

// CheckEnum refuses a value outside a closed list, which it names.
func CheckEnum(path, value string, allowed ...string) error {
	if !slices.Contains(allowed, value) {
		return Invalid(path, "enum", "%q is not allowed; allowed are %s", value, strings.Join(allowed, ", "))
	}
	return nil
}

// Check says what of a user is not allowed.
func (u User) Check() error {
	if err := CheckEmail("email", u.Email); err != nil {
		return err
	}
	if err := CheckName("user_name", u.UserName, 2, 100); err != nil {
		return err
	}
	if err := CheckEnum("role", u.Role, "admin", "member", "viewer"); err != nil {
		return err
	}
	return CheckEnum("status", u.Status, "active", "suspended", "pending")
}

// Check says what of a key is not allowed.
func (k APIKey) Check() error {
	if err := CheckName("name", k.Name, 1, 100); err != nil {
		return err
	}
	if utf8.RuneCountInString(k.Description) > 500 {
		return Invalid("description", "length", "more than 500 characters")
	}
	for i, p := range k.Permissions {
		if err := CheckEnum(indexed("permissions", i), p, "read", "write", "delete", "admin"); err != nil {
			return err
		}
	}
	for i, s := range k.Scopes {
		if s.ResourceType == "" || s.ResourceID == "" {
			return Invalid(indexed("scopes", i), "missing", "a scope needs resource_type and resource_id (an id, * or a prefix that ends in *)")
		}
	}
	return nil
}

// FreeNamespace refuses an id or a name that a namespace of the organization
// has; an empty one is not checked.
func (o Organization) FreeNamespace(id, name string) error {
	for _, n := range o.Namespaces {
		switch {
		case id != "" && (n.ID == id || n.Name == id):
			return &Error{Code: CodeConflict, Reason: "namespace_id_taken", Message: "the namespace id " + id + " is in use"}
		case n.Name == name || n.ID == name:
			return &Error{Code: CodeConflict, Reason: "namespace_name_taken", Message: "the namespace name " + name + " is in use"}
		}
	}
	return nil
}
