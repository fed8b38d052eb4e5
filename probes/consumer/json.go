package consumer

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// walker takes a JSON text apart as it arrives. It holds one value at a time, never the whole.
type walker struct {
	in *bounded
	d  *json.Decoder
}

func newWalker(r io.Reader) *walker {
	in, ok := r.(*bounded)
	if !ok {
		in = &bounded{r: r}
	}
	return &walker{in, json.NewDecoder(in)}
}

var errNotJSON = errors.New("the answer is not JSON; is it the right port?")

// shapeError: it is JSON, of another shape than this consumer's.
type shapeError struct{ want string }

func (e shapeError) Error() string {
	return fmt.Sprintf("the answer has no %s; is it the right consumer and port?", e.want)
}

func (w *walker) token() (json.Token, error) {
	t, err := w.d.Token()
	w.in.mark()
	var syntax *json.SyntaxError
	if errors.As(err, &syntax) {
		return nil, errNotJSON
	}
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return t, err
}

// array calls each for every element of the array that comes next; each must take it.
func (w *walker) array(what string, each func() error) error { return w.list(what, '[', each) }

// object calls member for every member of the object that comes next; it must take the value.
func (w *walker) object(what string, member func(key string) error) error {
	return w.list(what, '{', func() error {
		key, err := w.token()
		if err != nil {
			return err
		}
		return member(key.(string)) // the decoder lets nothing else be a key
	})
}

// list walks what comes next; null counts as empty, as Go's own encoder writes it.
func (w *walker) list(what string, open json.Delim, each func() error) error {
	t, err := w.token()
	switch {
	case err != nil:
		return err
	case t == nil:
		return nil
	case t != open:
		return shapeError{what}
	}
	for w.d.More() {
		if err := each(); err != nil {
			return err
		}
	}
	_, err = w.token()
	return err
}

// value decodes the value that comes next.
func (w *walker) value(what string, into any) error {
	err := w.d.Decode(into)
	w.in.mark()
	var syntax *json.SyntaxError
	var kind *json.UnmarshalTypeError
	switch {
	case errors.As(err, &syntax):
		return errNotJSON
	case errors.As(err, &kind):
		return shapeError{what} // the error of encoding/json may quote the value
	case err == io.EOF:
		return io.ErrUnexpectedEOF
	}
	return err
}

// maxDepth bounds how deep what is passed over may be nested.
const maxDepth = 100

// skip passes over the value that comes next.
func (w *walker) skip() error {
	depth := 0
	for {
		t, err := w.token()
		if err != nil {
			return err
		}
		switch t {
		case json.Delim('['), json.Delim('{'):
			if depth++; depth > maxDepth {
				return errNotJSON // nobody nests like that; the decoder remembers every level
			}
		case json.Delim(']'), json.Delim('}'):
			depth--
		}
		if depth == 0 {
			return nil
		}
	}
}

// end wants nothing more to come.
func (w *walker) end() error {
	switch _, err := w.d.Token(); {
	case err == io.EOF:
		return nil
	case err != nil && !errors.As(err, new(*json.SyntaxError)):
		return err
	}
	return errNotJSON
}
