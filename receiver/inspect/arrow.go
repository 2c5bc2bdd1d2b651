package inspect

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/apache/arrow-go/v18/arrow/ipc"
)

// arrowMagic begins every message of an Arrow IPC stream.
var arrowMagic = []byte{0xff, 0xff, 0xff, 0xff}

// arrowValue is an Arrow IPC stream.
type arrowValue struct {
	Metadata map[string]string `json:"metadata"`
	Rows     json.RawMessage   `json:"rows"`
}

// arrowRows decodes a stream of one record batch.
func arrowRows(b []byte) (out any, err error) {
	// The library indexes with what damaged bytes say; a bad record must not end
	// the reading of the good ones behind it.
	defer func() {
		if p := recover(); p != nil {
			out, err = nil, fmt.Errorf("is no Arrow stream: %v", p)
		}
	}()
	if err := checkArrow(b); err != nil {
		return nil, err
	}
	r, err := ipc.NewReader(bytes.NewReader(b))
	if err != nil {
		return nil, fmt.Errorf("is no Arrow stream: %w", err)
	}
	defer r.Release()
	v := arrowValue{Metadata: map[string]string{}}
	md := r.Schema().Metadata()
	for i, k := range md.Keys() {
		v.Metadata[k] = md.Values()[i]
	}
	if !r.Next() {
		return nil, errors.Join(errors.New("is an Arrow stream without rows"), r.Err())
	}
	if v.Rows, err = r.RecordBatch().MarshalJSON(); err != nil {
		return nil, fmt.Errorf("rows of an Arrow stream: %w", err)
	}
	return v, nil
}
