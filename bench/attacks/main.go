// attacks shows what misbehaving clients do to well-behaved ones, and to the node's memory.
//
// For each attack it starts a node on an empty directory, with the settings that a node has when
// nothing is set, and a producer and a consumer that do what clients do. Their latencies are
// measured with and without the attack in turn; the attackers are a process of their own that gives
// way to all others (nice 19), as if they were on another machine. It prints a table, and with
// -format json what is behind it.
//
//	attacks -ringlog target/release/ringlog [-only NAME,…] [-connections 1000] [-rounds 3]
//
// A verdict is "ok" if the node's resident memory stays within the budget for requests and 64 MiB,
// and the 99th percentile of both clients within twice what it is without the attack, or below
// -floor, where it is the machine's noise.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"log"
	"net"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

var (
	ringlog     = flag.String("ringlog", "target/release/ringlog", "the node's program")
	only        = flag.String("only", "", "these attacks, separated by commas (all if empty)")
	connections = flag.Int("connections", 1000, "of each attack")
	rounds      = flag.Int("rounds", 3, "calm and attack in turn, so often")
	calm        = flag.Duration("calm", 4*time.Second, "how long without the attack, each round")
	under       = flag.Duration("under", 6*time.Second, "how long with it, each round")
	budget      = flag.Int("budget", 128, "MiB: ringlog.request.memory.bytes of the node")
	beyond      = flag.Int("beyond", 64, "MiB that the node may take beyond its budget")
	floor       = flag.Duration("floor", 20*time.Millisecond, "a p99 below this is fast enough")
	rate        = flag.Int("rate", 100, "records a second of the producer")
	format      = flag.String("format", "text", "text or json")
	attack      = flag.String("attack", "", "be the attackers of this name (for the program itself)")
	bootstrap   = flag.String("b", "", "attack: the node")
)

// latencies are in microseconds.
type latencies struct {
	P50us   int64 `json:"p50_us"`
	P99us   int64 `json:"p99_us"`
	MaxUs   int64 `json:"max_us"`
	Records int64 `json:"records"`
	Errors  int64 `json:"errors"`
}

// row is what one attack did.
type row struct {
	Attack        string    `json:"attack"`
	RssMaxMiB     int       `json:"rss_max_mib"`
	RssCalmMiB    int       `json:"rss_calm_mib"`
	LongestTurnMs float64   `json:"longest_turn_ms"`
	ProducerCalm  latencies `json:"producer_calm"`
	ProducerUnder latencies `json:"producer_under"`
	ConsumerCalm  latencies `json:"consumer_calm"`
	ConsumerUnder latencies `json:"consumer_under"`
	Verdict       string    `json:"verdict"`
}

type report struct {
	Date        string `json:"date"`
	Command     string `json:"command"`
	Machine     string `json:"machine"`
	Connections int    `json:"connections"`
	BudgetMiB   int    `json:"budget_mib"`
	Rows        []row  `json:"rows"`
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

func main() {
	flag.Parse()
	log.SetFlags(0)
	if *attack != "" {
		attackAs(*attack)
		return
	}
	result := report{
		Date:        time.Now().Format(time.RFC3339),
		Command:     "bench/attacks/run " + strings.Join(os.Args[1:], " "),
		Machine:     fmt.Sprintf("%d cores, %s/%s", runtime.NumCPU(), runtime.GOOS, runtime.GOARCH),
		Connections: *connections, BudgetMiB: *budget,
	}
	wanted := strings.Split(*only, ",")
	for _, one := range attacks {
		if *only != "" && !slices.Contains(wanted, one.name) {
			continue
		}
		row := measure(one)
		fmt.Fprintf(os.Stderr, "%s: %s\n", row.Attack, row.Verdict)
		result.Rows = append(result.Rows, row)
	}
	if *format == "json" {
		check(json.NewEncoder(os.Stdout).Encode(result))
		return
	}
	print(result)
}

// measure runs one attack on a node of its own.
func measure(one attackKind) row {
	node := startNode(*budget << 20)
	defer node.stop()
	prepare(node.address)
	if one.prepare != nil {
		one.prepare(node.address)
	}
	healthy := startHealthy(node.address)
	defer healthy.stop()
	time.Sleep(2 * time.Second)
	row := row{Attack: one.name}
	calmly, underFire := newTimes(), newTimes()
	node.resetPeak()
	for range *rounds {
		healthy.into(calmly)
		time.Sleep(*calm)
		healthy.into(nil)
		row.RssCalmMiB = max(row.RssCalmMiB, node.peakMiB())
		node.resetPeak()
		attackers := startAttackers(one.name, node.address)
		healthy.into(underFire)
		time.Sleep(*under)
		healthy.into(nil)
		attackers.stop()
		row.RssMaxMiB = max(row.RssMaxMiB, node.peakMiB())
		// What they hold is given back, and the node's peak is not theirs any more.
		time.Sleep(time.Second)
		node.resetPeak()
	}
	row.LongestTurnMs = node.longestTurnMs()
	row.ProducerCalm, row.ConsumerCalm = calmly.summary()
	row.ProducerUnder, row.ConsumerUnder = underFire.summary()
	row.Verdict = verdict(row)
	return row
}

func verdict(row row) string {
	var failed []string
	if row.RssMaxMiB > *budget+*beyond {
		failed = append(failed, "memory")
	}
	isSlow := func(calm, under latencies) bool {
		return under.P99us > 2*calm.P99us && under.P99us > floor.Microseconds()
	}
	if isSlow(row.ProducerCalm, row.ProducerUnder) {
		failed = append(failed, "producer")
	}
	if isSlow(row.ConsumerCalm, row.ConsumerUnder) {
		failed = append(failed, "consumer")
	}
	if row.ProducerUnder.Errors+row.ConsumerUnder.Errors > 0 {
		failed = append(failed, "errors")
	}
	if row.ProducerUnder.Records == 0 || row.ConsumerUnder.Records == 0 {
		failed = append(failed, "nothing measured")
	}
	if len(failed) == 0 {
		return "ok"
	}
	return "FAILS: " + strings.Join(failed, ", ")
}

func print(result report) {
	fmt.Printf("%s\n%s, %d connections, budget %d MiB\n\n", result.Command, result.Machine,
		result.Connections, result.BudgetMiB)
	out := tabwriter.NewWriter(os.Stdout, 0, 0, 1, ' ', 0)
	fmt.Fprintln(out, "| attack\t| RSS max, MiB\t| longest turn, ms\t| producer p50/p99/max, ms\t"+
		"| under attack\t| ratio\t| consumer p50/p99/max, ms\t| under attack\t| ratio\t| verdict\t|")
	fmt.Fprintln(out, "|---\t|---\t|---\t|---\t|---\t|---\t|---\t|---\t|---\t|---\t|")
	for _, row := range result.Rows {
		fmt.Fprintf(out, "| %s\t| %d\t| %.0f\t| %s\t| %s\t| %.1f\t| %s\t| %s\t| %.1f\t| %s\t|\n",
			row.Attack, row.RssMaxMiB, row.LongestTurnMs,
			row.ProducerCalm, row.ProducerUnder, ratio(row.ProducerCalm, row.ProducerUnder),
			row.ConsumerCalm, row.ConsumerUnder, ratio(row.ConsumerCalm, row.ConsumerUnder),
			row.Verdict)
	}
	check(out.Flush())
}

func (l latencies) String() string {
	ms := func(us int64) float64 { return float64(us) / 1000 }
	return fmt.Sprintf("%.1f/%.1f/%.0f", ms(l.P50us), ms(l.P99us), ms(l.MaxUs))
}

func ratio(calm, under latencies) float64 {
	return float64(under.P99us) / float64(max(calm.P99us, 1))
}

// attackers are another process, so that it can give way to the node and its healthy clients.
type attackers struct{ process *exec.Cmd }

func startAttackers(name, address string) attackers {
	self, err := os.Executable()
	check(err)
	arguments := []string{"-n", "19", self, "-attack", name, "-b", address,
		"-connections", fmt.Sprint(*connections)}
	process := exec.Command("nice", arguments...)
	process.Stderr = os.Stderr
	check(process.Start())
	return attackers{process}
}

func (a attackers) stop() {
	check(a.process.Process.Kill())
	_ = a.process.Wait()
}

// dialAll gives a connection for each attacker, as fast as the node takes them.
func dialAll(address string, count int, with func(net.Conn)) {
	for range count {
		connection, err := net.Dial("tcp", address)
		if err != nil {
			time.Sleep(time.Millisecond)
			continue
		}
		go with(connection)
	}
}

func background() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), time.Minute)
}
