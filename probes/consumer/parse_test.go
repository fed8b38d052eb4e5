package consumer

import (
	"bufio"
	"encoding/json"
	"errors"
	"io"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// actives collects what a parser names, sorted.
func actives(t testing.TB, text string, parse func(*bounded, func(netip.AddrPort)) error) []string {
	t.Helper()
	var got []string
	if err := parse(&bounded{r: strings.NewReader(text)}, func(at netip.AddrPort) { got = append(got, at.String()) }); err != nil {
		t.Fatal(err)
	}
	slices.Sort(got)
	return got
}

func recording(t testing.TB, name string) string {
	t.Helper()
	b, err := os.ReadFile("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// steps are the bodies of a recording with one JSON object a line, and what they are named.
func steps(t testing.TB, name string) (bodies []string) {
	t.Helper()
	lines := bufio.NewScanner(strings.NewReader(recording(t, name)))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var step struct{ Body json.RawMessage }
		if err := json.Unmarshal(lines.Bytes(), &step); err != nil {
			t.Fatal(err)
		}
		bodies = append(bodies, string(step.Body))
	}
	if len(bodies) == 0 {
		t.Fatal("nothing was recorded")
	}
	return bodies
}

func traefikHTTP(r *bounded, active func(netip.AddrPort)) error { return parseTraefik(r, true, active) }
func envoyJSON(r *bounded, active func(netip.AddrPort)) error {
	return parseEnvoy(r, active, func(netip.AddrPort) {})
}
func envoyDrains(r *bounded, drains func(netip.AddrPort)) error {
	return parseEnvoy(r, func(netip.AddrPort) {}, drains)
}
func nginxJSON(r *bounded, active func(netip.AddrPort)) error { return parseIngressNginx(r, active) }

func TestTraefikRecordings(t *testing.T) {
	want := []string{"10.244.1.10:8080", "10.244.1.9:8080", "10.244.2.8:8080"}
	if got := actives(t, recording(t, "traefik-services.json"), traefikHTTP); !cmp.Equal(got, want) {
		t.Errorf("services: %v, want %v", got, want)
	}
	for name, want := range map[string][][]string{
		// Fenced pods are gone for new connections, some seconds before they vanish.
		"traefik-rollout-with-prestop.jsonl": {
			{"10.244.1.8:8080", "10.244.2.6:8080", "10.244.2.7:8080"},
			{"10.244.1.8:8080", "10.244.1.9:8080", "10.244.2.6:8080", "10.244.2.7:8080"},
			{"10.244.1.8:8080", "10.244.1.9:8080", "10.244.2.6:8080"},
			{"10.244.1.8:8080", "10.244.1.9:8080", "10.244.2.8:8080"},
			{"10.244.1.10:8080", "10.244.1.9:8080", "10.244.2.8:8080"},
			{"10.244.1.10:8080", "10.244.1.9:8080", "10.244.2.8:8080"},
			{"10.244.1.10:8080", "10.244.1.9:8080", "10.244.2.8:8080"},
		},
		"traefik-rollout-without-prestop.jsonl": {
			{"10.244.1.4:8080", "10.244.2.3:8080", "10.244.2.4:8080"},
			{"10.244.1.4:8080", "10.244.1.5:8080", "10.244.2.3:8080", "10.244.2.4:8080"},
			{"10.244.1.5:8080", "10.244.2.3:8080", "10.244.2.5:8080"},
			{"10.244.1.5:8080", "10.244.1.6:8080", "10.244.2.5:8080"},
		},
	} {
		var got [][]string
		for _, body := range steps(t, name) {
			got = append(got, actives(t, "["+body+"]", traefikHTTP))
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%s:\n%s", name, d)
		}
	}
	tcp := `[{"loadBalancer":{"servers":[{"address":"10.0.0.1:5432"},{"address":"[fd00::1]:5432"},{"address":"db.example:5432"}]}}]`
	if got, want := actives(t, tcp, func(r *bounded, f func(netip.AddrPort)) error { return parseTraefik(r, false, f) }),
		[]string{"10.0.0.1:5432", "[fd00::1]:5432"}; !cmp.Equal(got, want) {
		t.Errorf("TCP: %v, want %v", got, want)
	}
}

func TestEnvoyRecording(t *testing.T) {
	first, second := "127.0.0.11:18081", "127.0.0.12:18081"
	want := [][]string{
		{first, first, second, second}, // of two clusters
		{first, first},                 // the second is DRAINING in both
		{first, first, second, second},
		{first, first, second}, // removed from one; pending_dynamic_removal in the other, where it still gets requests
	}
	var got, drains [][]string
	for _, body := range steps(t, "envoy-clusters.jsonl") {
		got = append(got, actives(t, body, envoyJSON))
		drains = append(drains, actives(t, body, envoyDrains))
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	// Workers may be told of it a second later, which they are of a removal at once.
	if d := cmp.Diff([][]string{nil, {second, second}, nil, nil}, drains); d != "" {
		t.Error(d)
	}
}

func TestEnvoyHealth(t *testing.T) {
	for flags, active := range map[string]bool{
		``:                                  true,
		`"eds_health_status":"HEALTHY"`:     true,
		`"eds_health_status":"DEGRADED"`:    true,
		`"eds_health_status":"DRAINING"`:    false,
		`"eds_health_status":"UNHEALTHY"`:   false,
		`"eds_health_status":"TIMEOUT"`:     false,
		`"failed_active_health_check":true`: true, // comes back by itself
		`"failed_outlier_check":true`:       true,
		`"pending_dynamic_removal":true`:    true,
		`"eds_health_status":"DRAINING","pending_dynamic_removal":true`: false,
	} {
		body := `{"cluster_statuses":[{"name":"c","host_statuses":[{"address":{"socket_address":{"address":"::1","port_value":80}},"health_status":{` + flags + `}},
			{"address":{"pipe":{"path":"/run/x"}}},{"address":{"envoy_internal_address":{"server_listener_name":"x"}}}]}]}`
		if got := actives(t, body, envoyJSON); (len(got) == 1) != active {
			t.Errorf("{%s}: %v, want active: %v", flags, got, active)
		}
	}
}

func TestIngressNginxSample(t *testing.T) {
	want := []string{"10.1.3.86:5678", "127.0.0.1:8181", "[fd00::3:87]:5678"}
	if got := actives(t, recording(t, "ingress-nginx-backends.json"), nginxJSON); !cmp.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

// TestHAProxyRecording cuts the answers of `show servers state` out of the session.
func TestHAProxyRecording(t *testing.T) {
	var got [][]string
	session := recording(t, "haproxy.txt")
	for rest := session; ; {
		_, after, ok := strings.Cut(rest, "\n1\n# be_id ")
		if !ok {
			break
		}
		answer, more, _ := strings.Cut(after, "\n\n")
		got = append(got, actives(t, "1\n# be_id "+answer+"\n\n", parseServersState))
		rest = more
	}
	want := [][]string{
		{"127.0.0.1:18081", "127.0.0.1:18082"}, // SRV_3 is a free slot, in maintenance
		{"127.0.0.1:18081"},                    // SRV_2's address was overwritten
		nil,                                    // SRV_1 drains
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

// TestHAProxyTemplate: a slot whose name resolves to nothing has no address, and is in maintenance by DNS.
func TestHAProxyTemplate(t *testing.T) {
	if got, want := actives(t, recording(t, "haproxy-template.txt"), parseServersState), []string{"10.0.0.11:8080"}; !cmp.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

func TestHAProxyStates(t *testing.T) {
	const header = "1\n# be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state srv_uweight srv_iweight srv_port\n"
	for row, active := range map[string]bool{
		"2 0 1":  true,
		"1 0 1":  true, // warming up
		"0 0 1":  false,
		"3 0 1":  false,
		"2 0 0":  false,
		"2 1 1":  false,
		"2 8 1":  false,
		"2 16 1": false,
		"2 32 1": false, // the name does not resolve any more: server-template
	} {
		if got := actives(t, header+"3 be 1 s fd00::1 "+row+" 1 80\n\n", parseServersState); (len(got) == 1) != active {
			t.Errorf("%s: %v, want active: %v", row, got, active)
		}
	}
	if got := actives(t, header+"3 be 1 s - 2 0 1 1 80\n\n", parseServersState); got != nil {
		t.Errorf("a server without address: %v", got)
	}
}

func TestHAProxyStats(t *testing.T) {
	want := []string{"10.244.1.10:8080", "10.244.1.9:8080", "[fd00::1:9]:8080"}
	if got := actives(t, recording(t, "haproxy-stats.csv"), parseStats); !cmp.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	// As HAProxy answered without show-legends.
	err := parseStats(&bounded{r: strings.NewReader("# pxname,svname,status,weight,addr\nweb,SRV_1,DRAIN,1,\nweb,SRV_2,MAINT,1,\nweb,BACKEND,DOWN,0,\n")}, ignore)
	if err == nil || !strings.Contains(err.Error(), "show-legends") {
		t.Errorf("without addresses: %v", err)
	}
}

func ignore(netip.AddrPort) {}

var parsers = map[string]struct {
	parse func(*bounded, func(netip.AddrPort)) error
	whole string
}{
	"traefik":       {traefikHTTP, `[{"loadBalancer":{"servers":[{"url":"http://10.0.0.1:80"}]}}]`},
	"envoy":         {envoyJSON, `{"cluster_statuses":[{"host_statuses":[{"address":{"socket_address":{"address":"10.0.0.1","port_value":80}}}]}]}`},
	"ingress-nginx": {nginxJSON, `[{"endpoints":[{"address":"10.0.0.1","port":"80"}]}]`},
	"haproxy":       {parseServersState, "1\n# srv_addr srv_port srv_op_state srv_admin_state srv_uweight\n10.0.0.1 80 2 0 1\n\n"},
	"haproxy csv":   {parseStats, "# svname,status,weight,addr\ns,UP,1,10.0.0.1:80\n"},
}

// TestNoAnswer: whatever is not a complete answer of the right kind is an error, never "nobody is active", and its
// text holds nothing of what was answered.
func TestNoAnswer(t *testing.T) {
	for name, p := range parsers {
		t.Run(name, func(t *testing.T) {
			if got := actives(t, p.whole, p.parse); !cmp.Equal(got, []string{"10.0.0.1:80"}) {
				t.Fatalf("%q: %v", p.whole, got)
			}
			bad := []string{"", "\n", "null", "{}", "[]", "0", `"s3cret"`, `{"error":"s3cret"}`, `[{"s3cret":`, "<html>s3cret</html>",
				"s3cret\ns3cret\n", `{"cluster_statuses":"s3cret"}`, `[{"loadBalancer":{"servers":"s3cret"},"endpoints":[{"address":"10.0.0.1","port":{"s3cret":1}}]}]`,
				"\x00\xff\xfe", "1\n# srv_addr\n\n", "Permission denied\n\n", "Unknown command: 's3cret'\n\n", "2\n# srv_addr srv_port srv_op_state srv_admin_state srv_uweight\n\n",
				"1\n# srv_addr srv_port srv_op_state srv_admin_state srv_uweight\ns3cret s3cret s3cret s3cret s3cret\n\n"}
			for n := 1; n < len(p.whole); n++ {
				if name != "haproxy csv" { // HTTP says whether a CSV is whole
					bad = append(bad, p.whole[:n])
				}
			}
			for _, text := range bad {
				err := p.parse(&bounded{r: strings.NewReader(text)}, ignore)
				if err == nil {
					t.Errorf("%q passes for an answer", text)
				} else if strings.Contains(err.Error(), "s3cret") {
					t.Errorf("%q: the error tells what was answered: %v", text, err)
				}
			}
			for _, text := range []string{p.whole + "x", p.whole + "[]"} {
				if name == "traefik" || name == "envoy" || name == "ingress-nginx" {
					if err := p.parse(&bounded{r: strings.NewReader(text)}, ignore); err == nil {
						t.Errorf("%q passes for an answer", text)
					}
				}
			}
		})
	}
}

// endless repeats a text for ever, and notes the most memory that was in use meanwhile.
type endless struct {
	text         []byte
	at, read     int
	before, most uint64
}

func newEndless(text string) *endless {
	runtime.GC()
	return &endless{text: []byte(text), before: heap()}
}

func heap() uint64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

func (e *endless) Read(p []byte) (int, error) {
	for n := 0; n < len(p); {
		m := copy(p[n:], e.text[e.at:])
		n, e.at = n+m, (e.at+m)%len(e.text)
	}
	if e.read += len(p); e.read > 64<<10 {
		e.read, e.most = 0, max(e.most, heap())
	}
	return len(p), nil
}

// TestEndless: an answer that does not end is given up, and not held.
func TestEndless(t *testing.T) {
	const enough = 16 * maxValue // garbage included
	for name, p := range parsers {
		for _, text := range []string{"a", " ", `"`, "[", `{"a":`, "1", "\n", "1\n", ",", `[{"endpoints":[` + strings.Repeat(" ", 100)} {
			e := newEndless(text)
			if err := p.parse(&bounded{r: e}, ignore); err == nil {
				t.Errorf("%s: %q without end passes for an answer", name, text)
			}
			if held := int64(e.most) - int64(e.before); held > enough {
				t.Errorf("%s: %q without end took %d MiB of memory", name, text, held>>20)
			}
		}
	}
	// One that is well formed all the way is given up by its size.
	const cluster = `{"name":"c","host_statuses":[{"address":{"socket_address":{"address":"10.0.0.1","port_value":80}}}]},`
	seen, e := 0, newEndless(strings.Repeat(cluster, 100))
	body := &bounded{r: io.MultiReader(strings.NewReader(`{"cluster_statuses":[`), e), body: maxBody - 4<<20}
	if err := parseEnvoy(body, func(netip.AddrPort) { seen++ }, func(netip.AddrPort) {}); !errors.Is(err, errTooLarge) || seen < 10_000 {
		t.Errorf("%v, after %d addresses", err, seen)
	}
	if held := int64(e.most) - int64(e.before); held > enough {
		t.Errorf("a large answer took %d MiB of memory", held>>20)
	}
}
