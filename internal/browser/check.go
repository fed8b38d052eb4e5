package browser

import (
	_ "embed"
	"testing"

	"github.com/chromedp/chromedp"
)

//go:embed check.js
var checks string

// Problems says what is wrong with the page as it is laid out: it scrolls sideways, text of a chart overlaps or
// is cut off, text lies outside the page or has too little contrast, or the browser complained (errors, blocked
// resources). None of them is a matter of taste.
func (p *Page) Problems(t testing.TB) []string {
	t.Helper()
	problems, err := chromedp.Run(p.ctx, chromedp.Evaluate[[]string](checks))
	if err != nil {
		t.Fatalf("check the page: %v", err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return append(problems, p.console...)
}
