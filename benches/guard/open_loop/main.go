// Sends requests at a constant rate, whether or not the answers to earlier ones have arrived, and prints their latencies as JSON.
//
// The latency of a request begins when it is due, not when it is sent: a request that waits for a connection, or for this program, is late, and
// that counts (coordinated omission). vegeta and other programs in Go wait by the runtime's timers, which are up to 1 ms late; this one waits in
// the kernel.
package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"sync"
	"syscall"
	"time"
)

// Requests that have not begun to be answered by then have failed.
const patience = 10 * time.Second

// A connection, on which one request is under way at a time.
type connection struct {
	net.Conn
	reader *bufio.Reader
	sent   chan int
}

func main() {
	address := flag.String("address", "", "where to connect")
	file := flag.String("requests", "", "the requests, which are sent in turn: heads, each with an empty line at its end")
	rate := flag.Int("rate", 2000, "requests per second")
	warmUp := flag.Duration("warm-up", 2*time.Second, "how long requests are sent before they are measured")
	length := flag.Duration("length", 10*time.Second, "how long they are measured")
	count := flag.Int("connections", 64, "connections, which are kept")
	flag.Parse()
	text, err := os.ReadFile(*file)
	check(err)
	heads := bytes.SplitAfter(text, []byte("\r\n\r\n"))
	heads = heads[:len(heads)-1]

	// What is allocated during a run fits into memory; a collection would be measured as latency.
	debug.SetGCPercent(-1)
	free := make(chan *connection, *count)
	all := make([]*connection, *count)
	for i := range all {
		conn, err := net.Dial("tcp", *address)
		check(err)
		all[i] = &connection{Conn: conn, reader: bufio.NewReader(conn), sent: make(chan int, 1)}
		free <- all[i]
	}
	skipped := int(warmUp.Seconds() * float64(*rate))
	total := skipped + int(length.Seconds()*float64(*rate))
	latencies := make([]time.Duration, total)
	// How late this program wakes. Requests that are due before that, because all connections were busy, are the server's.
	lateness := make([]time.Duration, 1, total+1)
	start := time.Now().Add(10 * time.Millisecond)
	due := func(number int) time.Time {
		return start.Add(time.Duration(number) * time.Second / time.Duration(*rate))
	}

	var open sync.WaitGroup
	for _, conn := range all {
		open.Add(1)
		go func() {
			defer open.Done()
			for number := range conn.sent {
				check(conn.answer())
				latencies[number] = time.Since(due(number))
				free <- conn
			}
		}()
	}
	runtime.LockOSThread()
	for number := range total {
		if time.Now().Before(due(number)) {
			sleepUntil(due(number))
			lateness = append(lateness, time.Since(due(number)))
		}
		conn := <-free
		conn.sent <- number
		check(conn.SetDeadline(time.Now().Add(patience)))
		_, err := conn.Write(heads[number%len(heads)])
		check(err)
	}
	for _, conn := range all {
		close(conn.sent)
	}
	open.Wait()
	measured := latencies[skipped:]
	slices.Sort(measured)
	slices.Sort(lateness)
	check(json.NewEncoder(os.Stdout).Encode(map[string]any{
		"requests": total, "p50": quantile(measured, 0.5), "p99": quantile(measured, 0.99), "late_p99": quantile(lateness, 0.99),
	}))
}

// Reads an answer, which must be 200.
func (conn *connection) answer() error {
	answer, err := http.ReadResponse(conn.reader, nil)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if _, err := io.Copy(io.Discard, answer.Body); err != nil {
		return err
	}
	if answer.StatusCode != http.StatusOK || answer.Close {
		return fmt.Errorf("answered %s, close: %t", answer.Status, answer.Close)
	}
	return nil
}

func sleepUntil(due time.Time) {
	for left := time.Until(due); left > 0; left = time.Until(due) {
		wait := syscall.NsecToTimespec(left.Nanoseconds())
		// An error is a signal; then it waits for the rest.
		_ = syscall.Nanosleep(&wait, nil)
	}
}

// A quantile in milliseconds.
func quantile(sorted []time.Duration, share float64) float64 {
	return float64(sorted[int(math.Ceil(share*float64(len(sorted))))-1]) / float64(time.Millisecond)
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "open_loop:", err)
		os.Exit(1)
	}
}
