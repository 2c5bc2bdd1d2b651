package export

import (
	"strconv"

	"telemetry/receiver/sequence/columns"
	"telemetry/wire"
)

// IndexName is the file that says what the columns mean, where there are several
// files or the format has no place for it.
const IndexName = "channels.csv"

// index describes every column of every group, as a table.
func (w *Writer) index(names []string) []byte {
	b := []byte("group,column,channel,unit,values,description,enumeration\n")
	for _, name := range names {
		g := w.groups[name]
		for i := range g.fields {
			f := &g.fields[i]
			if f.kind == kindText {
				continue
			}
			for _, s := range []string{columns.Text(g.name), f.name, columns.Text(f.channel.Name), columns.Text(f.channel.Unit)} {
				b = append(appendCell(b, s), ',')
			}
			b = append(strconv.AppendUint(b, f.count, 10), ',')
			b = append(appendCell(b, columns.Text(f.channel.Description)), ',')
			b = append(appendCell(b, enumeration(f)), '\n')
		}
	}
	return b
}

// enumeration lists the names of a channel's values: "1=first; 2=second".
func enumeration(f *field) string {
	s := ""
	enums(f, func(value, name string) {
		if s != "" {
			s += "; "
		}
		s += value + "=" + name
	})
	return s
}

// enums calls fn for the names of a channel's values.
func enums(f *field, fn func(value, name string)) {
	for i := range f.channel.Enum {
		e := &f.channel.Enum[i]
		if v, ok := f.channel.Int(wire.TypeInt, e.Raw); ok {
			fn(strconv.FormatInt(v, 10), columns.Text(e.Name))
		} else {
			fn(string(AppendValue(nil, columns.Float64, bitsOf(f.channel.Float(wire.TypeInt, e.Raw)))), columns.Text(e.Name))
		}
	}
}
