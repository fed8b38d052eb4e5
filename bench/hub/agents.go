//go:build linux

package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lastcall-k8s/lastcall/hub"
	"github.com/lastcall-k8s/lastcall/ledger"
)

const serverName = "lastcall-agent" // as in cmd/lastcall

const token = "bench"

// agents are the simulated agents: as cmd/lastcall serves /v1, each at an address of its own.
type agents struct {
	shape
	script atomic.Pointer[script] // nil before it begins

	firsts []firsts
	served sync.WaitGroup
	server *http.Server
}

// firsts are the sequence numbers of an agent's blocks.
type firsts struct {
	mu sync.Mutex
	of []uint64
}

// first is the sequence number of a block's first line. Blocks are asked for when they are due, not before.
func (a *agents) first(s *script, agent, block int) uint64 {
	f := &a.firsts[agent]
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.of) == 0 {
		f.of = append(f.of, 1)
	}
	for n := len(f.of) - 1; n < block; n++ {
		f.of = append(f.of, f.of[n]+uint64(s.count(agent, n, s.until())))
	}
	return f.of[block]
}

// serve listens at all addresses, and returns the certificate that vouches for them.
func (a *agents) serve() (ca []byte, err error) {
	cert, err := certificate()
	if err != nil {
		return nil, err
	}
	a.firsts = make([]firsts, a.Agents)
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/clock", a.clock)
	mux.HandleFunc("GET /v1/events", a.events)
	a.server = &http.Server{Handler: mux, ErrorLog: log.New(io.Discard, "", 0), ReadHeaderTimeout: 10 * time.Second}
	config := &tls.Config{MinVersion: tls.VersionTLS13, NextProtos: []string{"http/1.1"}, Certificates: []tls.Certificate{cert}}
	for i := range a.Agents {
		l, err := net.Listen("tcp", netip.AddrPortFrom(address(i), uint16(a.Port)).String())
		if err != nil {
			return nil, errors.Join(err, a.close())
		}
		if a.Port == 0 {
			a.Port = l.Addr().(*net.TCPAddr).Port
		}
		a.served.Go(func() {
			a.server.Serve(tls.NewListener(l, config)) //nolint:errcheck // it ends by close
		})
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Certificate[0]}), nil
}

func (a *agents) close() error {
	err := a.server.Close()
	a.served.Wait()
	return err
}

func who(r *http.Request) int {
	at := r.Context().Value(http.LocalAddrContextKey).(*net.TCPAddr)
	return agentAt(at.AddrPort().Addr())
}

func (a *agents) clock(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	agent := who(r)
	json.NewEncoder(w).Encode(hub.Clock{Boot: boot(agent), Epoch: "1", Time: time.Now().Add(offset(agent))}) //nolint:errcheck // the reader has left
}

// events is cmd/lastcall's stream: hello, then lines and a heartbeat again and again.
func (a *agents) events(w http.ResponseWriter, r *http.Request) {
	agent := who(r)
	since, err := strconv.ParseUint(r.FormValue("since"), 10, 64)
	if err != nil || r.Header.Get("Authorization") != "Bearer "+token {
		http.Error(w, "since or token", http.StatusBadRequest)
		return
	}
	out := http.NewResponseController(w)
	w.Header().Set("Content-Type", "application/x-ndjson")
	now := func() time.Time { return time.Now().Add(offset(agent)) }
	hello := ledger.Event{Boot: boot(agent), Type: ledger.EventHello, At: now(), Node: nodeName(agent), NodeUID: nodeUID(agent), Version: "bench",
		Place: "kube-proxy", Backend: "nftables", Families: []ledger.Family{ledger.IPv4}}
	if json.NewEncoder(w).Encode(hello) != nil {
		return
	}
	var text []byte
	block, wait := -1, time.NewTimer(0)
	defer wait.Stop()
	for {
		text = text[:0]
		pause, applied := 2*time.Second, 999
		s := a.script.Load()
		if s != nil {
			if block < 0 {
				for block = 0; a.first(s, agent, block+1) <= since && !time.Now().Before(s.due(agent, block)); block++ {
				}
			}
			for ; !time.Now().Before(s.due(agent, block)); block++ {
				text = a.after(s, text, agent, block, since)
				since = max(since, a.first(s, agent, block)+uint64(s.count(agent, block, s.until())))
			}
			pause = min(pause, time.Until(s.due(agent, block)))
			if block > 0 {
				applied = 1000 + (block-1)/2
			}
		}
		if err := out.SetWriteDeadline(time.Now().Add(30 * time.Second)); err != nil {
			return
		}
		for line := range bytes.Lines(text) { // one by one, as agents do: TLS records, and who reads them, stay small
			if _, err := w.Write(line); err != nil {
				return
			}
		}
		beat := ledger.Event{Boot: boot(agent), Type: ledger.EventHeartbeat, At: now(), Next: since, ResourceVersion: strconv.Itoa(applied)}
		if json.NewEncoder(w).Encode(beat) != nil || out.Flush() != nil {
			return
		}
		wait.Reset(pause)
		select {
		case <-r.Context().Done():
			return
		case <-wait.C:
		}
	}
}

// after appends those lines of a block that are not older than since.
func (a *agents) after(s *script, text []byte, agent, block int, since uint64) []byte {
	first, from := a.first(s, agent, block), len(text)
	text = s.write(text, agent, block, s.until(), first)
	for ; first < since && len(text) > from; first++ {
		end := bytes.IndexByte(text[from:], '\n') + 1
		text = append(text[:from], text[from+end:]...)
	}
	return text
}

// begin lets pods leave from the next full second on.
func (a *agents) begin() time.Time {
	s := &script{shape: a.shape, begun: time.Now().UTC().Truncate(time.Second).Add(2 * time.Second), last: 1 << 30, texts: map[textKey]*text{}}
	a.script.Store(s)
	return s.begun
}

// written is how many lines all agents have written in all.
func (a *agents) written() (n uint64) {
	s := a.script.Load()
	if s == nil {
		return 0
	}
	now := time.Now()
	for agent := range a.Agents {
		block := max(0, 2*int(now.Sub(s.begun)/time.Second)-2)
		for !now.Before(s.due(agent, block)) {
			block++
		}
		n += a.first(s, agent, block) - 1
	}
	return n
}

func certificate() (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "bench"}, DNSNames: []string{serverName},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour), KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, err
}
