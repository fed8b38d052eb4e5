package store

import (
	"encoding/json"
	"fmt"

	"github.com/klauspost/compress/zstd"
)

// codec turns values into zstd-compressed JSON and back. A departure of 13.5 KB with its 32 slowest places becomes
// 3.2 KB, which costs 27 us; writing the other 10 KB would cost more, and the file holds four times as many. The
// default level would save no more and take 40 % longer.
type codec struct {
	enc *zstd.Encoder
	dec *zstd.Decoder
}

func newCodec() (c codec, err error) {
	c.enc, err = zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1),
		zstd.WithWindowSize(64<<10), zstd.WithEncoderCRC(true))
	if err != nil {
		return c, fmt.Errorf("make an encoder: %w", err)
	}
	// A broken row must not ask for gigabytes.
	c.dec, err = zstd.NewReader(nil, zstd.WithDecoderConcurrency(readers), zstd.WithDecoderMaxMemory(64<<20))
	if err != nil {
		return c, fmt.Errorf("make a decoder: %w", err)
	}
	return c, nil
}

func (c codec) pack(v any) ([]byte, error) {
	text, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	return c.enc.EncodeAll(text, nil), nil
}

// unpack reverses pack. zstd's checksum finds damage that SQLite, which has none, reads without complaint.
func (c codec) unpack(packed []byte, v any) error {
	text, err := c.dec.DecodeAll(packed, nil)
	if err == nil {
		err = json.Unmarshal(text, v)
	}
	if err != nil {
		return faultf(Broken, "decode a row: %w", err)
	}
	return nil
}
