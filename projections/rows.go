package projections

// Page is one page of a list. Next is the cursor of the page after it, empty at
// the end. Total is set where the query asked for it. At is where the page was
// read: a cursor goes on at the position of its first page.
type Page[T any] struct {
	Items []T
	Next  string
	Total *int
	At    At
}

// Sort is one key of an order. Values are compared as the filter language
// compares them; rows without the field come last.
type Sort struct {
	Field string
	Desc  bool
}
