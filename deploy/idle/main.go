// Command idle starts a server on an existing directory, and prints how long it
// took to its first answer and what it holds in memory when nothing happens.
//
//	idle BINARY DIRECTORY
package main

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

func main() {
	if err := run(os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, "idle:", err)
		os.Exit(1)
	}
}

func run(binary, directory string) error {
	var starts []time.Duration
	var resident []int
	for range 3 {
		start, kilobytes, err := once(binary, directory)
		if err != nil {
			return err
		}
		starts, resident = append(starts, start), append(resident, kilobytes)
	}
	slices.Sort(starts)
	slices.Sort(resident)
	fmt.Printf("start to first answer %s, resident %.1f MB (medians of 3)\n", starts[1].Round(time.Millisecond), float64(resident[1])/1024)
	return nil
}

// once starts the server, waits for health, lets it rest, reads its memory and stops it.
func once(binary, directory string) (time.Duration, int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, 0, err
	}
	address := l.Addr().String()
	l.Close()
	began := time.Now()
	cmd := exec.Command(binary, "serve", "--data", directory, "--listen", address, "--log-level", "error")
	if err := cmd.Start(); err != nil {
		return 0, 0, err
	}
	defer func() { _ = cmd.Process.Signal(syscall.SIGTERM); _ = cmd.Wait() }()
	for {
		res, err := http.Get("http://" + address + "/v1/health")
		if err == nil {
			res.Body.Close()
			if res.StatusCode == 200 {
				break
			}
		}
		if time.Since(began) > 10*time.Second {
			return 0, 0, fmt.Errorf("no answer within 10 s: %w", err)
		}
		time.Sleep(2 * time.Millisecond)
	}
	took := time.Since(began)
	time.Sleep(3 * time.Second)
	status, err := os.ReadFile("/proc/" + strconv.Itoa(cmd.Process.Pid) + "/status")
	if err != nil {
		return 0, 0, err
	}
	for _, line := range strings.Split(string(status), "\n") {
		if f := strings.Fields(line); len(f) > 1 && f[0] == "VmRSS:" {
			n, err := strconv.Atoi(f[1])
			return took, n, err
		}
	}
	return 0, 0, fmt.Errorf("no VmRSS of process %d", cmd.Process.Pid)
}
