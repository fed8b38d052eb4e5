package probes

import (
	"bufio"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"regexp"
	"strings"
	"time"

	"github.com/lastcall-k8s/lastcall/ledger"
)

// AskProxy asks kube-proxy on this node what of it makes one episode unlike another: its version and its minSyncPeriod. What it does not
// tell is "".
func AskProxy(address string) (p ledger.Proxy) {
	ask(address, "/metrics", maxMetrics, func(r io.Reader) { p.Version = buildVersion(r) })
	ask(address, "/configz", 1<<20, func(r io.Reader) { p.MinSync = minSync(r) })
	return p
}

// maxMetrics of kube-proxy are read: v1.36.3 answers with 100 KB.
const maxMetrics = 8 << 20

// ask reads an answer of kube-proxy, if there is one, on this thread, which may be in a network namespace of its own: http.Client would
// dial from another.
func ask(address, path string, most int64, read func(io.Reader)) {
	if address == "" {
		return
	}
	conn, err := net.DialTimeout("tcp", address, time.Second)
	if err != nil {
		return
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(time.Second)) //nolint:errcheck // it cannot fail on a new connection
	if _, err := io.WriteString(conn, "GET "+path+" HTTP/1.0\r\nHost: "+address+"\r\n\r\n"); err != nil {
		return
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusOK {
		read(io.LimitReader(resp.Body, most))
	}
}

var gitVersion = regexp.MustCompile(`[{,]git_version="([^"\\]{1,64})"`)

// buildVersion is that of kubernetes_build_info, which every component has (k8s v1.36.3 component-base/metrics/version.go); the rest is not
// read.
func buildVersion(metrics io.Reader) string {
	lines := bufio.NewScanner(metrics)
	for lines.Scan() {
		if strings.HasPrefix(lines.Text(), "kubernetes_build_info{") {
			if m := gitVersion.FindStringSubmatch(lines.Text()); m != nil {
				return m[1]
			}
			return ""
		}
	}
	return ""
}

// minSync is the period of the mode's proxier: what is served is made of the configuration in use, and the section of the other mode then
// says 0s (v1.36.3). Older versions serve the fields without tags, IPTables instead of iptables: encoding/json takes both.
func minSync(configz io.Reader) string {
	type proxier struct {
		MinSyncPeriod string `json:"minSyncPeriod"`
	}
	var all map[string]struct {
		Mode     string  `json:"mode"`
		IPTables proxier `json:"iptables"`
		NFTables proxier `json:"nftables"`
	}
	if json.NewDecoder(configz).Decode(&all) != nil {
		return ""
	}
	c, ok := all["kubeproxy.config.k8s.io"]
	period := ""
	switch c.Mode {
	case "nftables":
		period = c.NFTables.MinSyncPeriod
	case "iptables", "":
		period = c.IPTables.MinSyncPeriod
	}
	d, err := time.ParseDuration(period)
	if !ok || err != nil || d < 0 {
		return ""
	}
	return d.String()
}
