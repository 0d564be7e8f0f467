package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/jackc/pgx/v5"
)

// installation is one Varve of several processes, on a database and a topic of its own.
type installation struct {
	binary, folder string
	flags          []string
	key            string
	admin          *pgx.Conn
	database       string
	all            []*process
}

type process struct {
	cmd *exec.Cmd
	url string
}

func newInstallation(ctx context.Context, binary string) (_ *installation, err error) {
	dsn := os.Getenv("VARVE_TEST_POSTGRES")
	u, err := url.Parse(dsn)
	if err != nil || dsn == "" {
		return nil, errors.New("VARVE_TEST_POSTGRES must be the URL of a PostgreSQL server")
	}
	v := &installation{binary: binary, database: "varve_roles_" + strconv.Itoa(os.Getpid())}
	if v.folder, err = os.MkdirTemp("", "varve-roles"); err != nil {
		return nil, err
	}
	if v.admin, err = pgx.Connect(ctx, dsn); err != nil {
		return nil, err
	}
	if _, err := v.admin.Exec(ctx, "CREATE DATABASE "+v.database); err != nil {
		return nil, err
	}
	u.Path = "/" + v.database
	v.flags = []string{"--store", u.String()}
	if kafka := os.Getenv("VARVE_TEST_KAFKA"); kafka != "" {
		v.flags = append(v.flags, "--bus", "kafka://"+kafka+"?topic="+v.database+".events")
	}
	if s3 := os.Getenv("VARVE_TEST_S3"); s3 != "" {
		v.flags = append(v.flags, "--blobs", s3)
	}
	return v, nil
}

// close stops what runs and drops the database.
func (v *installation) close(ctx context.Context) error {
	var errs []error
	for len(v.all) > 0 {
		errs = append(errs, v.stop(v.all[0]))
	}
	_, err := v.admin.Exec(ctx, "DROP DATABASE "+v.database+" WITH (FORCE)")
	return errors.Join(append(errs, err, v.admin.Close(ctx), os.RemoveAll(v.folder))...)
}

// start starts a process that may use one core, and dies with ctx.
func (v *installation) start(ctx context.Context, role string) (*process, error) {
	data := filepath.Join(v.folder, role+strconv.Itoa(len(v.all)))
	p := &process{cmd: exec.CommandContext(ctx, v.binary, append([]string{"--json", "serve", "--data", data, "--listen", "127.0.0.1:0", "--log-level", "error", "--roles", role}, v.flags...)...)}
	p.cmd.Env = append(os.Environ(), "GOMAXPROCS=1")
	p.cmd.Stderr = os.Stderr
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	v.all = append(v.all, p)
	var said struct {
		URL string `json:"url"`
		Key string `json:"api_key"`
	}
	if err := json.NewDecoder(out).Decode(&said); err != nil {
		return nil, fmt.Errorf("varve serve --roles %s said nothing: %w", role, err)
	}
	p.url = said.URL
	if said.Key != "" {
		v.key = said.Key
	}
	return p, nil
}

func (v *installation) stop(p *process) error {
	for i := range v.all {
		if v.all[i] == p {
			v.all = append(v.all[:i], v.all[i+1:]...)
			break
		}
	}
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	return p.cmd.Wait()
}

// used is the processor time of a process so far, in seconds, where /proc tells it.
func (p *process) used() float64 {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(p.cmd.Process.Pid) + "/stat")
	if err != nil {
		return 0
	}
	fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
	ticks := 0
	for _, f := range fields[11:13] { // user and system time, in hundredths
		n, _ := strconv.Atoi(f)
		ticks += n
	}
	return float64(ticks) / 100
}

// do asks a process, and gives the answer of a request that succeeded.
func (v *installation) do(p *process, method, path, namespace string, body any) (map[string]any, error) {
	b, err := json.Marshal(body)
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequest(method, p.url+path, bytes.NewReader(b))
	if err != nil {
		return nil, err
	}
	for name, value := range map[string]string{"Authorization": "Bearer " + v.key, "X-Namespace": namespace, "Content-Type": "application/json"} {
		req.Header.Set(name, value)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	if b, err = io.ReadAll(res.Body); err != nil {
		return nil, err
	}
	if res.StatusCode >= 300 {
		return nil, fmt.Errorf("%s %s: %d %s", method, path, res.StatusCode, b[:min(len(b), 400)])
	}
	answer := map[string]any{}
	return answer, json.Unmarshal(b, &answer)
}
