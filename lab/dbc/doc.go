// Package dbc compares how sensors/dbc decodes payloads with how cantools does.
//
// The entry point is [Run]: for each file it decodes the same random and
// boundary payloads of every message with both, and counts each value that
// differs, is missing or is there in one alone.
package dbc
