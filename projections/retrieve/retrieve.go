// Package retrieve is a placeholder by the lead so that others compile: its owner replaces this file.
package retrieve

// Engine runs retrievers.
type Engine struct{}
