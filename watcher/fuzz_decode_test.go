package watcher

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"path/filepath"
	"reflect"
	"slices"
	"testing"

	"golang.org/x/tools/txtar"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/lastcall-k8s/lastcall/ledger"
)

// recorded are the objects of the scripts in testdata, by kind.
func recorded(f testing.TB) map[kind][]wireObject {
	f.Helper()
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		f.Fatal("no scripts: ", err)
	}
	all := map[kind][]wireObject{}
	for _, file := range files {
		ar, err := txtar.ParseFile(file)
		if err != nil {
			f.Fatal(err)
		}
		for _, part := range ar.Files {
			if part.Name == "want" {
				continue
			}
			for _, o := range parseYAML(f, part.Data) {
				k := trim(o, epoch).(*object).kind
				all[k] = append(all[k], o.(wireObject))
			}
		}
	}
	if len(all) != len(listKinds) {
		f.Fatalf("objects of %d kinds in the scripts", len(all))
	}
	return all
}

// wireObject is an object that can be sent.
type wireObject interface{ Marshal() ([]byte, error) }

func wire(f testing.TB, o wireObject) []byte {
	f.Helper()
	b, err := o.Marshal()
	if err != nil {
		f.Fatal(err)
	}
	return b
}

// FuzzList reads whole lists, and holds the reader that takes them object by object against client-go's, which takes
// them at once.
func FuzzList(f *testing.F) {
	for k, os := range recorded(f) {
		var items [][]byte
		for _, o := range os[:min(len(os), 4)] {
			items = append(items, wire(f, o))
		}
		b := asList(k, items...)
		f.Add(b, uint8(k))
		f.Add(b[:len(b)*2/3], uint8(k))
	}
	f.Fuzz(func(t *testing.T, data []byte, which uint8) {
		k := kind(which % 4)
		got, err := readList(bufio.NewReader(bytes.NewReader(data)), k)
		want, wantErr := decodeWhole(data, k)
		switch {
		case err != nil:
			return // it may be more careful: what it refuses is asked for again
		case wantErr != nil:
			t.Fatalf("read %d objects of what client-go refuses: %v", len(got.Items), wantErr)
		case len(got.Items) != len(want.Items) || got.ResourceVersion != want.ResourceVersion:
			t.Fatalf("%d objects of version %q, client-go reads %d of %q", len(got.Items), got.ResourceVersion, len(want.Items), want.ResourceVersion)
		}
		for i := range got.Items {
			a, b := *got.Items[i].(*object), *want.Items[i].(*object)
			a.at = b.at
			if !reflect.DeepEqual(a, b) {
				t.Errorf("object %d is %+v, for client-go %+v", i, a, b)
			}
			checkTrimmed(t, &a, len(data))
		}
	})
}

// TestListCutShort: wherever the connection breaks, a list is an error and never a shorter list: what is missing would be taken
// for gone.
func TestListCutShort(t *testing.T) {
	for k, os := range recorded(t) {
		var items [][]byte
		for _, o := range os[:min(len(os), 3)] {
			items = append(items, wire(t, o))
		}
		b := asList(k, items...)
		const behind = 4 // two empty fields
		for n := range len(b) - behind {
			if l, err := readList(bufio.NewReader(bytes.NewReader(b[:n])), k); err == nil {
				t.Fatalf("%s: %d of %d bytes are a list of %d", listKinds[k], n, len(b), len(l.Items))
			}
		}
		if l, err := readList(bufio.NewReader(bytes.NewReader(b)), k); err != nil || len(l.Items) != len(items) || l.ResourceVersion != "42" {
			t.Errorf("%s: %v, %v", listKinds[k], l, err)
		}
	}
}

// decodeWhole is how it is done with the list in memory.
func decodeWhole(data []byte, k kind) (*objectList, error) {
	raw, ok := bytes.CutPrefix(data, protobufMagic)
	var is runtime.Unknown
	if !ok {
		return nil, errors.New("not in protobuf")
	}
	if err := is.Unmarshal(raw); err != nil {
		return nil, err
	}
	var l interface {
		runtime.Object
		unmarshaler
	}
	switch k {
	case services:
		l = &corev1.ServiceList{}
	case endpointSlices:
		l = &discoveryv1.EndpointSliceList{}
	case pods:
		l = &corev1.PodList{}
	case nodes:
		l = &corev1.NodeList{}
	}
	if err := l.Unmarshal(is.Raw); err != nil {
		return nil, err
	}
	return trim(l, epoch).(*objectList), nil
}

// FuzzObject decodes one object of a watch event and trims it.
func FuzzObject(f *testing.F) {
	for k, os := range recorded(f) {
		for _, o := range os[:min(len(os), 30)] {
			f.Add(wire(f, o), uint8(k))
		}
	}
	f.Fuzz(func(t *testing.T, data []byte, which uint8) {
		k := kind(which % 4)
		l, err := readList(bufio.NewReader(bytes.NewReader(asList(k, data))), k)
		if err != nil {
			return
		}
		if len(l.Items) != 1 {
			t.Fatalf("a list of one object has %d", len(l.Items))
		}
		o := l.Items[0].(*object)
		checkTrimmed(t, o, len(data))
		// Applying it twice says nothing the second time.
		s := newState("n0")
		s.arm(epoch)
		s.set(o)
		again := *o
		if cs := s.set(&again); len(cs) > 0 {
			t.Errorf("the same object again: %v", cs)
		}
	})
}

// asList writes a list as an API server does.
func asList(k kind, items ...[]byte) []byte {
	field := func(b []byte, n byte, v []byte) []byte {
		return append(binary.AppendUvarint(append(b, n<<3|2), uint64(len(v))), v...)
	}
	list := field(nil, listMeta, field(nil, 2, []byte("42"))) // ListMeta.resourceVersion
	for _, item := range items {
		list = field(list, listItems, item)
	}
	typeMeta := field(nil, 2, []byte(listKinds[k])) // TypeMeta.kind
	b := field(slices.Clone(protobufMagic), unknownTypeMeta, typeMeta)
	b = field(b, unknownRaw, list)
	return field(field(b, unknownEncoding, nil), 4, nil)
}

// checkTrimmed holds what is kept of an object to what makes sense, and to the size of what came.
func checkTrimmed(t *testing.T, o *object, size int) {
	t.Helper()
	switch {
	case o.service != nil:
		s := o.service
		if len(s.external)+len(s.ports) > size {
			t.Errorf("%d external addresses and %d ports of %d bytes", len(s.external), len(s.ports), size)
		}
		for i, p := range s.ports {
			if p.port == 0 || p.protocol != "tcp" && p.protocol != "udp" && p.protocol != "sctp" {
				t.Errorf("port %+v", p)
			}
			if at := indexPort(s.ports, p); at != i {
				t.Errorf("ports %d and %d have one name", at, i)
			}
		}
		for _, a := range s.external {
			if !a.IsValid() || a.Is4In6() || a.Zone() != "" {
				t.Errorf("external address %v", a)
			}
		}
		if s.cluster4.IsValid() && !s.cluster4.Is4() || s.cluster6.IsValid() && (!s.cluster6.Is6() || s.cluster6.Is4In6()) {
			t.Errorf("cluster IPs %v and %v", s.cluster4, s.cluster6)
		}
	case o.slice != nil:
		if len(o.slice.endpoints)+len(o.slice.ports) > size {
			t.Errorf("%d endpoints and %d ports of %d bytes", len(o.slice.endpoints), len(o.slice.ports), size)
		}
		for _, e := range o.slice.endpoints {
			if !e.addr.IsValid() || e.addr.Zone() != "" || ledger.FamilyOf(e.addr) != o.slice.family || e.uid == "" {
				t.Errorf("an endpoint %v of pod %q in a slice of %s", e.addr, e.uid, o.slice.family)
			}
		}
	case o.pod != nil:
		if o.pod.deletion.IsZero() && o.pod.reason != "" && !o.pod.terminal {
			t.Errorf("departs (%s) without being deleted or having ended", o.pod.reason)
		}
		checkContainers(t, o.pod, size)
	}
}

func checkContainers(t *testing.T, p *pod, size int) {
	t.Helper()
	if len(p.containers)+len(p.exits) > size {
		t.Errorf("%d containers and %d exits of %d bytes", len(p.containers), len(p.exits), size)
	}
	for _, x := range p.exits {
		if !slices.ContainsFunc(p.containers, func(c ledger.Container) bool { return c.Name == x.Name }) {
			t.Errorf("container %q has ended and is none of the pod's", x.Name)
		}
	}
}
