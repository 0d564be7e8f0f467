// Command varve is the operations backend and its command line.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/alecthomas/kong"
)

// version is the module's, which go build takes from the repository's tags and commits.
var version = func() string {
	if info, ok := debug.ReadBuildInfo(); ok {
		return info.Main.Version
	}
	return "(devel)"
}()

// cli is the whole command line: each field is a verb or a flag, its tags are
// the help, and every flag is also an environment variable.
type cli struct {
	JSON bool `help:"Print JSON." env:"VARVE_JSON"`

	Serve   serveCmd   `cmd:"" help:"Run the server. An empty directory initializes itself and prints a key once."`
	Init    initCmd    `cmd:"" help:"Make the first organization, user and key in an empty directory."`
	Demo    demoCmd    `cmd:"" help:"Load the Cranfield collection into a server and show what Varve does with it."`
	Ingest  ingestCmd  `cmd:"" help:"Write files, or the lines of a .jsonl file, into a bucket and extract them."`
	Search  searchCmd  `cmd:"" help:"Run a retriever."`
	Trace   traceCmd   `cmd:"" help:"Show how an execution came to its answer."`
	Lineage lineageCmd `cmd:"" help:"Show where a document came from, or what came from an object."`
	Log     logCmd     `cmd:"" help:"Verify or follow the log."`
	Rebuild rebuildCmd `cmd:"" help:"Build a read model anew from the log."`
	Parked  parkedCmd  `cmd:"" help:"List the streams of which read models leave events out; retry them, or skip what cannot be applied."`
	Store   storeCmd   `cmd:"" help:"Copy an installation, or remove what nothing refers to. For whoever runs it."`
	Health  healthCmd  `cmd:"" help:"Say whether a server is ready, and what is missing."`
	Version versionCmd `cmd:"" help:"Print the version."`
}

// output is where verbs print and whether as JSON.
type output struct {
	io.Writer
	errors io.Writer
	json   bool
}

// print writes v as JSON, or as text where text is wanted.
func (o output) print(v any, text func(w io.Writer)) error {
	if !o.json {
		text(o)
		return nil
	}
	e := json.NewEncoder(o)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

// clip cuts a text to n characters.
func clip(s string, n int) string {
	r := []rune(s)
	if len(r) <= n {
		return s
	}
	return string(r[:n-1]) + "…"
}

type versionCmd struct{}

// Run prints the version.
func (versionCmd) Run(o output) error {
	return o.print(map[string]string{"version": version}, func(w io.Writer) { fmt.Fprintln(w, "varve", version) })
}

// run is main without the process: tests call it.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	var c cli
	parser, err := kong.New(&c, kong.Name("varve"), kong.Description("An event-sourced operations backend for multimodal retrieval."),
		kong.UsageOnError(), kong.Writers(stdout, stderr), kong.BindTo(ctx, (*context.Context)(nil)), kong.Exit(func(code int) { panic(exit(code)) }))
	if err != nil {
		fmt.Fprintln(stderr, "varve:", err)
		return 1
	}
	code := 0
	func() {
		defer func() {
			if p := recover(); p != nil {
				e, ok := p.(exit)
				if !ok {
					panic(p)
				}
				code = int(e)
			}
		}()
		k, err := parser.Parse(args)
		if err != nil {
			fmt.Fprintf(stderr, "varve: %v\nvarve --help lists the verbs and their flags.\n", err)
			code = 2
			return
		}
		if err := k.Run(output{stdout, stderr, c.JSON}); err != nil {
			if errors.Is(err, context.Canceled) && ctx.Err() != nil {
				err = errors.New("interrupted")
			}
			fmt.Fprintln(stderr, "varve:", err)
			code = 1
		}
	}()
	return code
}

type exit int

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}
