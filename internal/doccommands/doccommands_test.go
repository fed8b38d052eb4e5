package doccommands

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const document = "# A title\n" + `
Type ` + "`make demo`" + ` or ` + "`kubectl lastcall check --pre`, not `make-believe` and not `$PATH`." + `

    IMAGE=me/x make demo && sudo cp bin/a 'my dir' > log 2>&1   # a comment | make none
    helm template x \
      --set a=b | kubectl apply -f -

<!-- not run: it is slow -->

    go run ./bench/hub -for 30s
    kubectl create -f - <<'END'
    kind: make
    END
    kubectl version

* in a list

  ` + "```sh\n  eval \"$(go run ./bench/testbed up)\"\n  make test\n  ```\n" + `
` + "```yaml\nargs: [make]\n```\n\n```text\nmake nothing\n$ kubectl lastcall explain \\\n  deploy/shop\nmake an answer\n```\n"

func TestParse(t *testing.T) {
	commands, err := Parse("x.md", document)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, c := range commands {
		line := fmt.Sprintf("%d %s", c.Line, strings.Join(append(c.Env, c.Words...), "|"))
		if c.NotRun != "" {
			line += " (" + c.NotRun + ")"
		}
		if c.Inline {
			line += " inline"
		}
		got = append(got, line)
	}
	want := []string{
		"5 IMAGE=me/x|make|demo", "5 sudo|cp|bin/a|my dir",
		"6 helm|template|x|--set|a=b", "6 kubectl|apply|-f|-",
		"11 go|run|./bench/hub|-for|30s (it is slow)", "12 kubectl|create|-f|- (it is slow)", "15 kubectl|version (it is slow)",
		"20 go|run|./bench/testbed|up", "20 eval|$(go run ./bench/testbed up)", "21 make|test",
		"30 kubectl|lastcall|explain|deploy/shop",
		"3 make|demo inline", "3 kubectl|lastcall|check|--pre inline",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestNotParsed(t *testing.T) {
	for _, tc := range []struct{ text, want string }{
		{"```\nls\n```\n", "x.md:2: say after ``` what this block is"},
		{"```sh\necho 'a\n```\n", "x.md:2: a quote that is not closed"},
		{"```sh\ncat <<END\n```\n", "x.md:2: a here-document without its end, END"},
	} {
		if _, err := Parse("x.md", tc.text); err == nil || !strings.HasPrefix(err.Error(), tc.want) {
			t.Errorf("%q: %v, want %s", tc.text, err, tc.want)
		}
	}
}
