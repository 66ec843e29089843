package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// node is a Ringlog with nothing set but where it listens and keeps its data.
type node struct {
	process        *exec.Cmd
	address, admin string
	directory      string
}

func freeAddress() string {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	check(err)
	defer listener.Close()
	return listener.Addr().String()
}

func startNode(budgetBytes int) *node {
	directory, err := os.MkdirTemp("", "ringlog-attacks-")
	check(err)
	started := &node{address: freeAddress(), admin: freeAddress(), directory: directory}
	arguments := []string{"server", "--listen", started.address, "--admin", started.admin,
		"--data", filepath.Join(directory, "data"),
		"--set", fmt.Sprintf("ringlog.request.memory.bytes=%d", budgetBytes)}
	started.process = exec.Command(*ringlog, arguments...)
	log, err := os.Create(filepath.Join(directory, "log"))
	check(err)
	started.process.Stderr = log
	check(started.process.Start())
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		connection, err := net.Dial("tcp", started.address)
		if err == nil {
			connection.Close()
			return started
		}
		if time.Now().After(deadline) {
			check(err)
		}
	}
}

func (n *node) stop() {
	_ = n.process.Process.Kill()
	_ = n.process.Wait()
	check(os.RemoveAll(n.directory))
}

func (n *node) proc(name string) string {
	return fmt.Sprintf("/proc/%d/%s", n.process.Process.Pid, name)
}

// resetPeak makes the largest resident memory that of now.
func (n *node) resetPeak() {
	check(os.WriteFile(n.proc("clear_refs"), []byte("5"), 0))
}

// peakMiB is the largest resident memory since the last reset.
func (n *node) peakMiB() int {
	status, err := os.ReadFile(n.proc("status"))
	check(err)
	for line := range strings.Lines(string(status)) {
		if fields := strings.Fields(line); fields[0] == "VmHWM:" {
			kib, err := strconv.Atoi(fields[1])
			check(err)
			return kib >> 10
		}
	}
	panic("the kernel says no VmHWM")
}

// longestTurnMs is how long a shard was busy with one thing at most, by its own metrics.
func (n *node) longestTurnMs() float64 {
	client := http.Client{Timeout: 20 * time.Second}
	response, err := client.Get("http://" + n.admin + "/metrics")
	if err != nil {
		return -1
	}
	defer response.Body.Close()
	longest := 0.0
	lines := bufio.NewScanner(io.LimitReader(response.Body, 64<<20))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		name, value, _ := strings.Cut(lines.Text(), "} ")
		if strings.HasPrefix(name, "ringlog_shard_turn_max_seconds") {
			seconds, err := strconv.ParseFloat(value, 64)
			check(err)
			longest = max(longest, seconds*1000)
		}
	}
	return longest
}
