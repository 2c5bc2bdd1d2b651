package columnstest

import (
	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
)

// Cell returns a value of an Arrow column as a [Point] has it; ok is false where the
// column holds something else. The row must not be null.
func Cell(a arrow.Array, row int) (value any, ok bool) {
	switch a := a.(type) {
	case *array.Int64:
		return a.Value(row), true
	case *array.Uint64:
		return a.Value(row), true
	case *array.Float32:
		return a.Value(row), true
	case *array.Float64:
		return a.Value(row), true
	}
	return nil, false
}
