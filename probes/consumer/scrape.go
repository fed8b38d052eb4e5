package consumer

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/itchyny/gojq"
)

// Scrape declares how a consumer is read that shows its endpoints over HTTP: what to fetch, and as jq programs
// what in it is an endpoint. It covers those for which there is no code.
type Scrape struct {
	Fidelity Fidelity `json:"fidelity"`
	LagBound string   `json:"lagBound,omitempty"` // a duration, such as 1s

	// Fetch are the paths to get. With List, one for each item: {} in the path is replaced by it.
	Fetch []string    `json:"fetch"`
	List  *ScrapeList `json:"list,omitempty"`
	// Accept is the header of that name.
	Accept string `json:"accept,omitempty"`
	// Format is json, or text: the jq programs then get the body as one string.
	Format string `json:"format,omitempty"`

	// Each yields the endpoints of a body. Of each, Address yields an address, "address:port" or a URL, and Port
	// the port if that is apart. DrainingIf says of which no new connection is sent to.
	Each       string `json:"each"`
	Address    string `json:"address"`
	Port       string `json:"port,omitempty"`
	DrainingIf string `json:"drainingIf,omitempty"`
	// MayBeEmpty: an answer without any endpoint is one. By default it is not: programs that look at the wrong
	// place find none either, and that must not look like everybody having left.
	MayBeEmpty bool `json:"mayBeEmpty,omitempty"`
}

// ScrapeList says which items there are.
type ScrapeList struct {
	Path string `json:"path"`
	Each string `json:"each"`
}

const (
	// maxScrape bounds a body that is held at once, for jq: decoded it takes some ten times as much.
	maxScrape = 8 << 20
	// maxItems bounds the requests of one reading.
	maxItems = 200
)

// Kind makes a place kind of it.
func (s Scrape) Kind(name string) (Kind, error) {
	var errs []error
	lag := time.Duration(0)
	if s.LagBound != "" {
		var err error
		if lag, err = time.ParseDuration(s.LagBound); err != nil || lag < 0 || lag > time.Hour {
			errs = append(errs, fmt.Errorf("lagBound %q: must be a duration such as 1s, at most 1h", s.LagBound))
		}
	}
	if s.Fidelity != ShowsDataplane && s.Fidelity != ShowsConfig {
		errs = append(errs, fmt.Errorf("fidelity %q: must be dataplane or config", s.Fidelity))
	}
	if s.Format != "" && s.Format != "json" && s.Format != "text" {
		errs = append(errs, fmt.Errorf("format %q: must be json or text", s.Format))
	}
	if len(s.Fetch) == 0 {
		errs = append(errs, errors.New("fetch: at least one path is needed"))
	}
	x := &scraper{Scrape: s, each: compile("each", s.Each, true, &errs), address: compile("address", s.Address, true, &errs),
		port: compile("port", s.Port, false, &errs), draining: compile("drainingIf", s.DrainingIf, false, &errs)}
	paths := s.Fetch
	if s.List != nil {
		x.items = compile("list.each", s.List.Each, true, &errs)
		paths = append([]string{s.List.Path}, paths...)
	}
	for _, p := range paths {
		if !strings.HasPrefix(p, "/") {
			errs = append(errs, fmt.Errorf("path %q: must begin with /", p))
		}
	}
	open := func(src Source) (*Reader, error) {
		g := newGetter(src)
		return &Reader{Close: g.close, Read: func(ctx context.Context, _ []Want, active Active) (Answer, error) {
			return Answer{}, x.read(ctx, g, addressOnly(active))
		}}, nil
	}
	return Kind{Name: name, Fidelity: s.Fidelity, Lag: lag, Open: open}, errors.Join(errs...)
}

func compile(field, program string, needed bool, errs *[]error) *gojq.Code {
	if program == "" {
		if needed {
			*errs = append(*errs, fmt.Errorf("%s: a jq program is needed", field))
		}
		return nil
	}
	q, err := gojq.Parse(program)
	if err == nil {
		var code *gojq.Code
		if code, err = gojq.Compile(q); err == nil {
			return code
		}
	}
	*errs = append(*errs, fmt.Errorf("%s: %w", field, err))
	return nil
}

// scraper is a Scrape that is ready to run.
type scraper struct {
	Scrape
	each, address, port, draining, items *gojq.Code
}

func (x *scraper) read(ctx context.Context, g *getter, active func(netip.AddrPort)) error {
	paths := x.Fetch
	if x.List != nil {
		paths = nil
		err := x.fetch(ctx, g, x.List.Path, "json", func(body any) error {
			return run(ctx, "list.each", x.items, body, func(v any) error {
				item, ok := v.(string)
				switch {
				case !ok:
					return shapeError{"string for list.each"}
				case len(paths) >= maxItems:
					return fmt.Errorf("list.each yields more than %d items", maxItems)
				}
				for _, p := range x.Fetch {
					paths = append(paths, strings.ReplaceAll(p, "{}", url.PathEscape(item)))
				}
				return nil
			})
		})
		if err != nil {
			return err
		}
	}
	endpoints := 0
	for _, p := range paths {
		err := x.fetch(ctx, g, p, cmp.Or(x.Format, "json"), func(body any) error {
			n, err := x.parse(ctx, body, active)
			endpoints += n
			return err
		})
		if err != nil {
			return err
		}
	}
	if endpoints == 0 && !x.MayBeEmpty {
		return errors.New("the programs find no endpoint at all; if that may be, set mayBeEmpty")
	}
	return nil
}

func (x *scraper) fetch(ctx context.Context, g *getter, path, format string, use func(body any) error) error {
	return g.get(ctx, path, x.Accept, func(_ *http.Response, body *bounded) error {
		text, err := io.ReadAll(io.LimitReader(readMarking{body}, maxScrape+1))
		switch {
		case err != nil:
			return err
		case len(text) > maxScrape:
			return fmt.Errorf("the answer is larger than %d MiB", maxScrape>>20)
		case format == "text":
			return use(string(text))
		}
		var v any
		if json.Unmarshal(text, &v) != nil {
			return errNotJSON
		}
		return use(v)
	})
}

// parse names the active endpoints of one body, and says how many there are in all.
func (x *scraper) parse(ctx context.Context, body any, active func(netip.AddrPort)) (endpoints int, err error) {
	err = run(ctx, "each", x.each, body, func(endpoint any) error {
		endpoints++
		if x.draining != nil {
			away, err := first(ctx, "drainingIf", x.draining, endpoint)
			if err != nil {
				return err
			}
			if away != nil && away != false {
				return nil
			}
		}
		v, err := first(ctx, "address", x.address, endpoint)
		if err != nil {
			return err
		}
		text, ok := v.(string)
		if !ok {
			return shapeError{"string for address"}
		}
		if x.port != nil {
			port, err := first(ctx, "port", x.port, endpoint)
			if err != nil {
				return err
			}
			number, ok := portNumber(port)
			if !ok {
				return shapeError{"port number for port"}
			}
			text = net.JoinHostPort(strings.Trim(text, "[]"), number)
		}
		link := ""
		if strings.Contains(text, "://") {
			link = text
		}
		if at, ok := serverAddress(link, text); ok { // a host name is none of a pod
			active(at)
		}
		return nil
	})
	return endpoints, err
}

func portNumber(v any) (string, bool) {
	switch v := v.(type) {
	case float64:
		return strconv.Itoa(int(v)), v == float64(uint16(v))
	case int:
		return strconv.Itoa(v), v == int(uint16(v))
	case string:
		return v, true
	}
	return "", false
}

// run calls each for everything that a program yields. Errors of jq may quote what it works on, so only the
// field is named.
func run(ctx context.Context, field string, code *gojq.Code, input any, each func(any) error) error {
	results := code.RunWithContext(ctx, input)
	for {
		v, ok := results.Next()
		if !ok {
			return ctx.Err()
		}
		if err, failed := v.(error); failed {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if halt := (*gojq.HaltError)(nil); errors.As(err, &halt) && halt.Value() == nil {
				return nil
			}
			return shapeError{"what the jq program of " + field + " works on"}
		}
		if err := each(v); err != nil {
			return err
		}
	}
}

func first(ctx context.Context, field string, code *gojq.Code, input any) (v any, err error) {
	errDone := errors.New("done")
	err = run(ctx, field, code, input, func(x any) error { v = x; return errDone })
	if err == errDone {
		err = nil
	}
	return v, err
}
