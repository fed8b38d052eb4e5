package pages

import (
	"fmt"
	"log/slog"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"golang.org/x/net/html"
)

// get is the answer to a GET.
func get(t *testing.T, f *fixture, path string) *httptest.ResponseRecorder {
	t.Helper()
	w := httptest.NewRecorder()
	New(f, slog.New(slog.DiscardHandler), atNow).ServeHTTP(w, httptest.NewRequest("GET", path, nil))
	return w
}

// parse reads a page as a browser would.
func parse(t *testing.T, page string) *html.Node {
	t.Helper()
	root, err := html.Parse(strings.NewReader(page))
	if err != nil {
		t.Fatal(err)
	}
	return root
}

// all are the elements of some kind; "" is any.
func all(root *html.Node, name string) (found []*html.Node) {
	for n := range root.Descendants() {
		if n.Type == html.ElementNode && (name == "" || n.Data == name) {
			found = append(found, n)
		}
	}
	return found
}

func attr(n *html.Node, key string) string {
	for _, a := range n.Attr {
		if a.Key == key {
			return a.Val
		}
	}
	return ""
}

// text is what an element says, with its white space collapsed.
func text(n *html.Node) string {
	var b strings.Builder
	for c := range n.Descendants() {
		if c.Type == html.TextNode {
			b.WriteString(c.Data)
		}
	}
	return strings.Join(strings.Fields(b.String()), " ")
}

// everyPage are the paths of all pages of the good and of the hostile hub.
func everyPage() (good, bad []string) {
	good = []string{"/", "/?late=1&before=4", "/?workload=deployment/none", "/places", "/places?trouble=1", "/places?node=nobody",
		"/episodes/7", "/episodes/8", "/episodes/9", "/episodes/5", "/nowhere", "/episodes/777", "/departures/nobody"}
	for _, uid := range uids() {
		good = append(good, "/departures/"+uid)
	}
	good = append(good, "/workloads", "/workloads?verdict=too-short&page=7", "/workloads?text=nobody", "/workloads/prod/deployment/nobody")
	for _, path := range workloadPaths(hub()) {
		good = append(good, "/"+path)
	}
	bad = []string{"/", "/places", "/workloads"}
	for _, path := range workloadPaths(hostileHub()) {
		bad = append(bad, "/"+path)
	}
	for i, uid := range hostile {
		bad = append(bad, "/departures/"+url.PathEscape(uid), "/episodes/"+strconv.Itoa(i+1), "/departures/x"+url.PathEscape(uid),
			"/?namespace="+url.QueryEscape(uid)+"&workload="+url.QueryEscape(uid)+"&before=3", "/places?node="+url.QueryEscape(uid),
			"/workloads?namespace="+url.QueryEscape(uid)+"&verdict="+url.QueryEscape(uid)+"&text="+url.QueryEscape(uid))
	}
	return good, bad
}

// workloadPaths are those of the pages of all workloads of a hub.
func workloadPaths(f *fixture) (paths []string) {
	for key := range f.workloads {
		namespace, workload, _ := strings.Cut(key, "\x1f")
		if u := workloadURL("", namespace, workload); u != "" {
			paths = append(paths, u)
		}
	}
	slices.Sort(paths)
	return paths
}

func TestStructure(t *testing.T) {
	good, bad := everyPage()
	for _, path := range good {
		t.Run(path, func(t *testing.T) { checkStructure(t, get(t, hub(), path).Body.String()) })
	}
	for _, path := range bad {
		t.Run("hostile"+path, func(t *testing.T) { checkStructure(t, get(t, hostileHub(), path).Body.String()) })
	}
}

// ours are the elements that the templates have. Any other came out of a name.
var ours = strings.Fields("html head body meta title link a header nav main footer section h1 h2 p strong small span bdi abbr code " +
	"dl div dt dd ul li table caption thead tbody tr th td form label input select option button details summary pre code " +
	"svg desc defs g pattern rect line path text use")

func checkStructure(t *testing.T, page string) {
	t.Helper()
	for i, r := range page {
		if r == utf8.RuneError || r != '\n' && unicode.IsControl(r) || unicode.Is(unicode.Cf, r) || unicode.Is(unicode.M, r) || rtl.MatchString(string(r)) {
			t.Fatalf("rune %U at %d: %q", r, i, page[max(0, i-40):i+10])
		}
	}
	root := parse(t, page)
	ids := map[string]bool{}
	for _, n := range all(root, "") {
		if !slices.Contains(ours, n.Data) {
			t.Errorf("element <%s>", n.Data)
		}
		for _, a := range n.Attr {
			switch {
			case strings.HasPrefix(a.Key, "on"), a.Key == "style", a.Key == "srcdoc", a.Key == "src":
				t.Errorf("<%s %s=%q>", n.Data, a.Key, a.Val)
			case a.Key == "href" || a.Key == "action":
				checkURL(t, a.Val)
			case a.Key == "id":
				if ids[a.Val] {
					t.Errorf("id %q twice", a.Val)
				}
				ids[a.Val] = true
			}
		}
	}
	checkReferences(t, root, ids)
	checkHeadings(t, root)
	for _, n := range all(root, "table") {
		if c := all(n, "caption"); len(c) != 1 || text(c[0]) == "" {
			t.Error("a table without a caption")
		}
	}
	for _, n := range all(root, "th") {
		if attr(n, "scope") == "" {
			t.Errorf("<th>%s without a scope", text(n))
		}
	}
	for _, n := range all(root, "svg") {
		if attr(n, "role") == "img" && (n.FirstChild == nil || firstElement(n).Data != "title" || text(firstElement(n)) == "") {
			t.Error("a drawing without a title")
		}
		if attr(n, "role") != "img" && attr(n, "aria-hidden") == "" && attr(n, "overflow") == "" {
			t.Error("a drawing that is neither named nor hidden")
		}
	}
	for _, n := range all(root, "input") {
		if n.Parent.Data != "label" {
			t.Error("an input without a label")
		}
	}
	if attr(all(root, "html")[0], "lang") == "" || text(all(root, "title")[0]) == "" {
		t.Error("no language or no title")
	}
}

var rtl = regexp.MustCompile(`[\p{Hebrew}\p{Arabic}\p{Syriac}\p{Thaana}\p{Nko}]`)

func firstElement(n *html.Node) *html.Node {
	for c := range n.ChildNodes() {
		if c.Type == html.ElementNode {
			return c
		}
	}
	return &html.Node{}
}

// checkURL holds that a page leads nowhere but to the hub's own pages.
func checkURL(t *testing.T, s string) {
	t.Helper()
	u, err := url.Parse(s)
	if err != nil || u.Host != "" || u.Scheme != "" && u.Scheme != "data" || strings.HasPrefix(s, "/") {
		t.Errorf("URL %q (%v)", s, err)
	}
	if u != nil && u.Scheme == "data" && !strings.HasPrefix(s, "data:image/svg+xml,") {
		t.Errorf("URL %q", s)
	}
}

var reference = regexp.MustCompile(`url\(#([^)]*)\)`)

func checkReferences(t *testing.T, root *html.Node, ids map[string]bool) {
	t.Helper()
	for _, n := range all(root, "") {
		for _, a := range n.Attr {
			if m := reference.FindStringSubmatch(a.Val); a.Key == "fill" && (m == nil || !ids[m[1]]) {
				t.Errorf("<%s fill=%q> refers to nothing", n.Data, a.Val)
			}
			if strings.HasPrefix(a.Key, "aria-labelledby") && !ids[a.Val] || a.Key == "href" && strings.HasPrefix(a.Val, "#") && !ids[a.Val[1:]] {
				t.Errorf("<%s %s=%q> refers to nothing", n.Data, a.Key, a.Val)
			}
		}
	}
}

func checkHeadings(t *testing.T, root *html.Node) {
	t.Helper()
	if n := len(all(root, "h1")); n != 1 {
		t.Errorf("%d h1", n)
	}
	level := 0
	for _, n := range all(root, "") {
		var l int
		if _, err := fmt.Sscanf(n.Data, "h%d", &l); err == nil {
			if l > level+1 {
				t.Errorf("<%s> %s after h%d", n.Data, text(n), level)
			}
			level = l
		}
	}
}

// TestHostileNamesAreShown holds that a hostile name is not dropped either: it can be read, in its visible form.
func TestHostileNamesAreShown(t *testing.T) {
	f := hostileHub()
	for uid, d := range f.departures {
		w := get(t, f, departureURL("/", uid))
		if w.Code != 200 {
			t.Errorf("%q: %d: the link to a departure does not lead to it", uid, w.Code)
			continue
		}
		root := parse(t, w.Body.String())
		if got, want := attr(all(root, "h1")[0], "title"), newDepartureView(d, "").Pod; got != want {
			t.Errorf("pod %q is shown as %q, not as %q", d.Pod, got, want)
		}
		shown := text(root)
		for _, l := range d.Slowest {
			if want := newRow(l, newScale(nil), 0).Short; !strings.Contains(shown, strings.Join(strings.Fields(want), " ")) {
				t.Errorf("node %q is not shown as %q", l.Node, want)
			}
		}
	}
}

// TestLinks follows the links of every page.
func TestLinks(t *testing.T) {
	good, _ := everyPage()
	f := hub()
	for _, path := range good {
		base, _ := url.Parse("http://hub" + path)
		for _, n := range append(all(parse(t, get(t, f, path).Body.String()), "a"), all(parse(t, get(t, f, path).Body.String()), "link")...) {
			href := attr(n, "href")
			if strings.HasPrefix(href, "data:") || strings.HasPrefix(href, "#") {
				continue
			}
			to, err := base.Parse(href)
			if err != nil {
				t.Fatal(err)
			}
			if w := get(t, f, to.RequestURI()); w.Code != 200 && to.Path != base.Path {
				t.Errorf("%s links to %s, which is %d", path, to, w.Code)
			}
		}
	}
}
