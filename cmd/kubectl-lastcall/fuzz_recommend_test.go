package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/lastcall-k8s/lastcall/hub/sizing"
)

// FuzzAdvice: whatever a hub answers is drawn, or refused; and nothing of it is obeyed by a terminal.
func FuzzAdvice(f *testing.F) {
	for _, s := range scenes {
		text, err := json.Marshal(sizing.Advise(s(), sizing.Pool{}, sizing.Options{}))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Add([]byte(`{"verdicts":[{"code":"fits"}],"basis":"none"}`))
	f.Add([]byte(`{"verdicts":[{"code":"too-short","place":{"node":"a"}}],"basis":"own","seconds":3,"class":{"burst":"\u001b"}}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		var a sizing.Advice
		if json.Unmarshal(text, &a) != nil || !a.Sound() {
			return
		}
		v := view{screen: screen{width: 80, terminal: true}, now: func() time.Time { return sceneTime }, zone: time.UTC}
		var b bytes.Buffer
		v.advice(&b, a, nil, errors.New("it could not be read"), "")
		v.adviceTable([]sizing.Advice{a}, true, false).write(&b, v.screen)
		if i := strings.IndexFunc(b.String(), func(r rune) bool { return r < ' ' && r != '\n' || r == 0x7f || r == '\u202e' }); i >= 0 {
			t.Errorf("%q", b.String()[max(0, i-20):min(b.Len(), i+20)])
		}
	})
}
