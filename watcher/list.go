package watcher

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
)

// list asks for a list and trims each object as its bytes arrive. A server that streams lists (WatchList) is not asked for
// one, but one before 1.32, or on an etcd before 3.4.31 or 3.5.13, is: the whole answer and the whole of what client-go decodes
// from it are 70 MiB at once for 10,000 Services of 10 endpoints, of which 24 are kept.
func (r *resource) list(ctx context.Context, q *rest.Request) (runtime.Object, error) {
	body, err := q.Stream(ctx)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	in := bufio.NewReaderSize(body, 32<<10)
	if magic, _ := in.Peek(len(protobufMagic)); !bytes.Equal(magic, protobufMagic) {
		return q.Do(ctx).Get() // in JSON, from something that is no API server of Kubernetes
	}
	l, err := readList(in, r.kind)
	if err != nil {
		return nil, fmt.Errorf("read the list of %s: %w", r.name, err)
	}
	return l, nil
}

// protobufMagic begins every object in application/vnd.kubernetes.protobuf; a runtime.Unknown follows, whose raw bytes
// are the list (k8s.io/apimachinery pkg/runtime/serializer/protobuf).
var protobufMagic = []byte("k8s\x00")

// Fields of runtime.Unknown, and of every list.
const (
	unknownTypeMeta, unknownRaw, unknownEncoding = 1, 2, 3
	listMeta, listItems                          = 1, 2
)

// readList reads a list object by object. A list that ends early is an error: what is missing from it would be taken
// for gone.
func readList(in *bufio.Reader, k kind) (*objectList, error) {
	p := protobuf{in: in}
	if magic, err := p.bytes(uint64(len(protobufMagic))); err != nil || !bytes.Equal(magic, protobufMagic) {
		return nil, errors.Join(errors.New("not in protobuf"), err)
	}
	var l *objectList
	for {
		field, size, err := p.field()
		switch {
		case err == io.EOF && l != nil:
			return l, nil
		case err == io.EOF:
			return nil, io.ErrUnexpectedEOF
		case err != nil:
			return nil, err
		}
		switch {
		case field == unknownTypeMeta:
			var is runtime.TypeMeta
			if err := p.message(size, &is); err != nil {
				return nil, err
			}
			if is.Kind != listKinds[k] {
				return nil, fmt.Errorf("a %q where a %s was asked for", is.Kind, listKinds[k])
			}
		case field == unknownRaw && l == nil:
			if l, err = p.list(size, k); err != nil {
				return nil, err
			}
		case field == unknownRaw, field == unknownEncoding && size > 0:
			return nil, errors.New("two lists in one, or an encoded one")
		default:
			if err := p.skip(size); err != nil {
				return nil, err
			}
		}
	}
}

var listKinds = map[kind]string{services: "ServiceList", endpointSlices: "EndpointSliceList", pods: "PodList", nodes: "NodeList"}

// list reads the next size bytes.
func (p *protobuf) list(size uint64, k kind) (*objectList, error) {
	l := &objectList{}
	for end := p.read + size; p.read < end; {
		field, n, err := p.field()
		switch {
		case err == io.EOF:
			return nil, io.ErrUnexpectedEOF
		case err != nil:
			return nil, err
		case n > end || p.read+n > end:
			return nil, errors.New("an object that is longer than its list")
		}
		switch field {
		case listMeta:
			err = p.message(n, &l.ListMeta)
		case listItems:
			err = p.item(n, k, l)
		default:
			err = p.skip(n)
		}
		if err != nil {
			return nil, err
		}
	}
	return l, nil
}

func (p *protobuf) item(size uint64, k kind, l *objectList) error {
	var into interface {
		metav1.Object
		unmarshaler
	}
	switch k {
	case services:
		into = &corev1.Service{}
	case endpointSlices:
		into = &discoveryv1.EndpointSlice{}
	case pods:
		into = &corev1.Pod{}
	case nodes:
		into = &corev1.Node{}
	}
	if err := p.message(size, into); err != nil {
		return err
	}
	l.Items = append(l.Items, trimObject(into, time.Now()))
	return nil
}

// protobuf reads fields of messages, all of which are length-delimited in what is read here.
type protobuf struct {
	in   *bufio.Reader
	buf  bytes.Buffer
	read uint64 // bytes so far
}

type unmarshaler interface{ Unmarshal([]byte) error }

// field reads a tag and a length. io.EOF only if nothing is left at all.
func (p *protobuf) field() (number, size uint64, err error) {
	tag, err := binary.ReadUvarint(p)
	if err != nil {
		return 0, 0, err
	}
	if tag&7 != 2 {
		return 0, 0, fmt.Errorf("field %d of wire type %d", tag>>3, tag&7)
	}
	size, err = binary.ReadUvarint(p)
	switch {
	case err == io.EOF:
		err = io.ErrUnexpectedEOF
	case err == nil && size > 1<<40:
		err = fmt.Errorf("field %d of %d bytes", tag>>3, size) // sums of sizes must not overflow
	}
	return tag >> 3, size, err
}

func (p *protobuf) ReadByte() (byte, error) {
	b, err := p.in.ReadByte()
	if err == nil {
		p.read++
	}
	return b, err
}

// bytes are valid until the next call. The buffer grows with what arrives, not with what is promised.
func (p *protobuf) bytes(size uint64) ([]byte, error) {
	p.buf.Reset()
	n, err := io.CopyN(&p.buf, p.in, int64(size))
	p.read += uint64(n)
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return p.buf.Bytes(), err
}

func (p *protobuf) message(size uint64, into unmarshaler) error {
	b, err := p.bytes(size)
	if err != nil {
		return err
	}
	return into.Unmarshal(b) // copies what it keeps
}

func (p *protobuf) skip(size uint64) error {
	n, err := io.CopyN(io.Discard, p.in, int64(size))
	p.read += uint64(n)
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return err
}
