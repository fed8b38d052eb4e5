package routes

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/lastcall-k8s/lastcall/hub/serving"
)

// object is one as it leaves the decoder, trimmed to what is kept. It is itself a runtime.Object, so that client-go's
// reflector carries it.
type object struct {
	serving.Object
	name    serving.Name
	version string
	// initialEnd marks the bookmark that ends the initial events of a streaming list.
	initialEnd bool
}

// objectList is a list of them.
type objectList struct {
	metav1.ListMeta
	Items []runtime.Object
}

// trimming makes decoders that trim what they decode before anyone holds it. Kind is that of the objects.
type trimming struct {
	runtime.NegotiatedSerializer
	kind string
}

func (t trimming) DecoderToVersion(d runtime.Decoder, gv runtime.GroupVersioner) runtime.Decoder {
	return trimmingDecoder{t.NegotiatedSerializer.DecoderToVersion(d, gv), t.kind}
}

type trimmingDecoder struct {
	runtime.Decoder
	kind string
}

func (d trimmingDecoder) Decode(data []byte, gvk *schema.GroupVersionKind, into runtime.Object) (runtime.Object, *schema.GroupVersionKind, error) {
	var is metav1.TypeMeta
	if err := json.Unmarshal(data, &is); err != nil {
		return nil, nil, fmt.Errorf("read an object: %w", err)
	}
	if is.Kind == "Status" { // errors come as such
		return d.Decoder.Decode(data, gvk, into)
	}
	o, err := trim(d.kind, data)
	return o, nil, err
}

func trim(kind string, data []byte) (*object, error) {
	var m struct {
		Metadata struct {
			Namespace       string            `json:"namespace"`
			Name            string            `json:"name"`
			ResourceVersion string            `json:"resourceVersion"`
			Annotations     map[string]string `json:"annotations"`
		} `json:"metadata"`
	}
	if err := json.Unmarshal(data, &m); err != nil {
		return nil, fmt.Errorf("read an object: %w", err)
	}
	o := &object{name: serving.Name{Namespace: m.Metadata.Namespace, Name: m.Metadata.Name}, version: m.Metadata.ResourceVersion,
		initialEnd: m.Metadata.Annotations[metav1.InitialEventsAnnotationKey] == "true"}
	var err error
	o.Object, err = serving.Parse(kind, data)
	return o, err
}

// readList reads a list object by object. One that ends early is an error: what is missing from it would be taken for gone.
func readList(r io.Reader, kind string) (*objectList, error) {
	in := json.NewDecoder(r)
	if err := expect(in, '{'); err != nil {
		return nil, err
	}
	l := &objectList{}
	listed := false
	for in.More() {
		key, err := in.Token()
		if err != nil {
			return nil, err
		}
		switch key {
		case "metadata":
			err = in.Decode(&l.ListMeta)
		case "items":
			listed = true
			err = l.read(in, kind)
		default:
			err = in.Decode(&json.RawMessage{})
		}
		if err != nil {
			return nil, err
		}
	}
	if err := expect(in, '}'); err != nil {
		return nil, err
	}
	if !listed || l.ResourceVersion == "" {
		return nil, errors.New("it is no list")
	}
	return l, nil
}

func (l *objectList) read(in *json.Decoder, kind string) error {
	var text json.RawMessage
	start, err := in.Token()
	switch {
	case err != nil:
		return err
	case start == nil: // null: no items
		return nil
	case start != json.Delim('['):
		return errors.New("items are no list")
	}
	for in.More() {
		if err := in.Decode(&text); err != nil {
			return err
		}
		o, err := trim(kind, text)
		if err != nil {
			return err
		}
		l.Items = append(l.Items, o)
	}
	return expect(in, ']')
}

func expect(in *json.Decoder, want json.Delim) error {
	got, err := in.Token()
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	if err == nil && got != want {
		err = fmt.Errorf("%v where %v was expected", got, want)
	}
	return err
}

// GetObjectMeta is what the reflector reads of an object: its key, its version, and the end of a streaming list.
func (o *object) GetObjectMeta() metav1.Object {
	m := &metav1.ObjectMeta{Namespace: o.name.Namespace, Name: o.name.Name, ResourceVersion: o.version}
	if o.initialEnd {
		m.Annotations = map[string]string{metav1.InitialEventsAnnotationKey: "true"}
	}
	return m
}

func (o *object) GetObjectKind() schema.ObjectKind     { return schema.EmptyObjectKind }
func (o *object) DeepCopyObject() runtime.Object       { return o } // nobody changes one
func (l *objectList) GetObjectKind() schema.ObjectKind { return schema.EmptyObjectKind }
func (l *objectList) DeepCopyObject() runtime.Object   { return l }
