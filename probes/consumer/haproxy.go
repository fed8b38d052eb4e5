package consumer

import (
	"bufio"
	"cmp"
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// haproxy is read through its runtime socket, or over HTTP where its statistics page shows addresses. One
// request of either is answered between two turns of the loop that routes: there is no lag.
//
// Controllers reuse slots: haproxytech's overwrites the address of a removed server with 127.0.0.1:1 and
// sets it to maintenance. So what counts is whether an address is still in an active row, not what became of a row.
var haproxy = Kind{
	Name: "haproxy", Fidelity: ShowsDataplane,
	Find: []Finder{
		{Product: "HAProxy Kubernetes Ingress Controller", Labels: map[string]string{"app.kubernetes.io/name": "kubernetes-ingress"}, PortName: "stat", Port: 1024},
		{Product: "HAProxy Ingress", Labels: map[string]string{"app.kubernetes.io/name": "haproxy-ingress"}, Unread: "its runtime socket is a file of its pod, /var/run/haproxy/admin.sock"},
	},
	Open: func(s Source) (*Reader, error) {
		if s.Unix != "" {
			return &Reader{Close: func() {}, Read: func(ctx context.Context, _ []Want, active Active) (Answer, error) {
				return Answer{}, command(ctx, s, "show servers state\n", func(r *bounded) error {
					return parseServersState(r, addressOnly(active))
				})
			}}, nil
		}
		g := newGetter(s)
		return &Reader{Close: g.close, Read: func(ctx context.Context, _ []Want, active Active) (Answer, error) {
			return Answer{}, g.get(ctx, cmp.Or(s.Path, "/;csv"), "", func(_ *http.Response, body *bounded) error {
				return parseStats(body, addressOnly(active))
			})
		}}, nil
	},
}

// command sends one line to a socket that answers and closes.
func command(ctx context.Context, s Source, line string, parse func(*bounded) error) error {
	c, err := s.dial(ctx)
	if err != nil {
		return fmt.Errorf("ask %s: %w", s, broken(err))
	}
	defer c.Close()
	defer context.AfterFunc(ctx, func() { c.Close() })() // ends a read that waits
	wrong := func(err error) error {
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		return fmt.Errorf("%q to %s: %w", strings.TrimSpace(line), s, broken(err))
	}
	if _, err := io.WriteString(c, line); err != nil {
		return wrong(err)
	}
	if err := parse(&bounded{r: c}); err != nil {
		return wrong(err)
	}
	return nil
}

const (
	opStarting = 1 // warming up: gets requests, fewer
	opRunning  = 2
	// A server in maintenance (0x01 forced, 0x02 inherited, 0x04 configured, 0x20 by DNS, 0x40 by name) or
	// draining (0x08, 0x10) gets no new connection (include/haproxy/server-t.h, enum srv_admin).
	adminAway = 0x7f
)

// maxLine bounds a line of HAProxy's: one with all columns of a server has some 500 bytes.
const maxLine = 64 << 10

// parseServersState reads `show servers state`.
func parseServersState(in *bounded, active func(netip.AddrPort)) error {
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, maxLine)
	next := func() (string, bool) {
		ok := lines.Scan()
		in.mark()
		return lines.Text(), ok
	}
	if version, _ := next(); version != "1" && lines.Err() == nil {
		return shapeError{"version 1 of HAProxy's server states"}
	}
	header, _ := next()
	columns, ok := strings.CutPrefix(header, "# ")
	if !ok && lines.Err() == nil {
		return shapeError{"header of HAProxy's server states"}
	}
	names := strings.Fields(columns)
	var at [5]int
	for i, n := range []string{"srv_addr", "srv_port", "srv_op_state", "srv_admin_state", "srv_uweight"} {
		if at[i] = slices.Index(names, n); at[i] < 0 && lines.Err() == nil {
			return shapeError{"column " + n}
		}
	}
	for {
		line, ok := next()
		switch {
		case lines.Err() != nil:
			return lineError(lines.Err())
		case !ok:
			return io.ErrUnexpectedEOF // an empty line ends every answer
		case line == "":
			return nil
		}
		f := strings.Fields(line)
		if len(f) < len(names) {
			return shapeError{"server in each line"}
		}
		var n [4]int
		for i := range n {
			var err error
			if n[i], err = strconv.Atoi(f[at[i+1]]); err != nil {
				return shapeError{"number as " + names[at[i+1]]}
			}
		}
		port, op, admin, weight := n[0], n[1], n[2], n[3]
		addr, err := netip.ParseAddr(f[at[0]])
		if err == nil && port > 0 && port < 1<<16 && (op == opRunning || op == opStarting) && admin&adminAway == 0 && weight > 0 {
			active(netip.AddrPortFrom(addr, uint16(port)))
		}
	}
}

func lineError(err error) error {
	if errors.Is(err, bufio.ErrTooLong) {
		return errTooLong
	}
	return err
}

// parseStats reads the statistics as CSV. Their addr column is filled only with `stats show-legends`, which
// haproxytech's configuration sets.
func parseStats(in *bounded, active func(netip.AddrPort)) error {
	in.most = maxLine
	rows := csv.NewReader(in)
	rows.ReuseRecord, rows.FieldsPerRecord, rows.LazyQuotes = true, -1, true
	header, err := rows.Read()
	in.mark()
	if err != nil {
		return csvError(err)
	}
	names := slices.Clone(header)
	names[0] = strings.TrimPrefix(names[0], "# ")
	var at [4]int
	for i, n := range []string{"svname", "status", "weight", "addr"} {
		if at[i] = slices.Index(names, n); at[i] < 0 {
			return shapeError{"column " + n}
		}
	}
	servers, addresses := 0, 0
	for {
		f, err := rows.Read()
		in.mark()
		switch {
		case err == io.EOF && servers > 0 && addresses == 0:
			return errors.New("the addr column is empty: the statistics need `stats show-legends`")
		case err == io.EOF:
			return nil
		case err != nil:
			return csvError(err)
		case len(f) < len(names)-1: // some versions end lines without the last comma
			return shapeError{"server in each line"}
		}
		switch f[at[0]] {
		case "FRONTEND", "BACKEND":
			continue
		}
		servers++
		addr, err := netip.ParseAddrPort(f[at[3]])
		if err != nil {
			continue
		}
		addresses++
		if status := f[at[1]]; (status == "no check" || strings.HasPrefix(status, "UP")) && f[at[2]] != "0" {
			active(addr)
		}
	}
}

func csvError(err error) error {
	if errors.As(err, new(*csv.ParseError)) {
		return shapeError{"comma-separated statistics"} // its error has a position only, but is no help
	}
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}
