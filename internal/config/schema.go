package config

import (
	"fmt"
	"reflect"
)

// Schema returns a JSON Schema of the car's configuration file, for editors that
// complete and check it while it is written. It knows keys and shapes; what the
// values must be among each other, only [ReadAgent] knows.
func Schema() map[string]any {
	s := schemaOf(reflect.TypeFor[Agent]())
	s["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	s["title"] = "edgeagent"
	s["required"] = []string{"version", "car", "spool", "sources"}
	return s
}

// ReceiverSchema is [Schema] of the receiver's configuration file.
func ReceiverSchema() map[string]any {
	s := schemaOf(reflect.TypeFor[Receiver]())
	s["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	s["title"] = "receiver"
	s["required"] = []string{"version", "kafka"}
	return s
}

func schemaOf(t reflect.Type) map[string]any {
	if t.Kind() == reflect.Pointer {
		return schemaOf(t.Elem())
	}
	if isScalarType(t) {
		return scalarSchema(t)
	}
	switch t.Kind() {
	case reflect.Slice:
		list := map[string]any{"type": "array", "items": schemaOf(t.Elem())}
		if t.Implements(reflect.TypeFor[loneScalar]()) {
			return map[string]any{"anyOf": []any{schemaOf(t.Elem()), list}}
		}
		return list
	case reflect.Map:
		return map[string]any{"type": "object", "additionalProperties": schemaOf(t.Elem())}
	}
	properties := map[string]any{}
	for key, at := range fieldsOf(t) {
		properties[key] = schemaOf(t.FieldByIndex(at).Type)
	}
	return map[string]any{"type": "object", "properties": properties, "additionalProperties": false}
}

// scalarSchema describes a plain value. A text may look like any of them in a
// YAML file.
func scalarSchema(t reflect.Type) map[string]any {
	plain := []string{"string", "number", "boolean"}
	if s, ok := reflect.New(t).Interface().(scalar); ok {
		return map[string]any{"type": plain, "description": "want " + s.want()}
	}
	switch t.Kind() {
	case reflect.Bool:
		return map[string]any{"type": "boolean"}
	case reflect.String:
		return map[string]any{"type": plain}
	case reflect.Float64:
		return map[string]any{"type": "number"}
	case reflect.Int, reflect.Int64:
		return map[string]any{"type": "integer"}
	}
	panic(fmt.Sprintf("config: internal error: no schema of %s", t)) // a new kind of value in a configuration
}
