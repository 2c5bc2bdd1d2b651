package config

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"
)

func TestEncrypt(t *testing.T) {
	const pit = "age1t2kqqr38rj5t7gxj7fvcguahgsgd4mqlf0ajjvxvdszg2lujq9pqfhtklz"
	for _, tc := range []struct {
		name, text string
		want       string // part of the fault; "": none
	}{
		{"the box alone", "{identity: box.key}", ""},
		{"with the pit", "{identity: box.key, recipients: [" + pit + "], only: true}", ""},
		{"no identity", "{recipients: [" + pit + "]}", "spool.encrypt.identity: is missing"},
		{"a private key for a recipient", "{identity: box.key, recipients: [AGE-SECRET-KEY-1ABC]}", "spool.encrypt.recipients[0]"},
		{"a recipient that was cut", "{identity: box.key, recipients: [" + pit[:40] + "]}", "spool.encrypt.recipients[0]"},
		{"an unknown key", "{identity: box.key, key: x}", "spool.encrypt.key: unknown key"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := write(t, "version: 1\ncar: c\nspool: {dir: s, encrypt: "+tc.text+"}\nsources: [{name: s, sim: {}}]\n")
			c, err := ReadAgent(p)
			if tc.want != "" {
				var fs Faults
				if !errors.As(err, &fs) || !strings.Contains(err.Error(), tc.want) {
					t.Errorf("got %v, want %q", err, tc.want)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got, want := c.Spool.Encrypt.Identity, filepath.Join(filepath.Dir(p), "box.key"); got != want {
				t.Errorf("identity %q, want %q", got, want)
			}
		})
	}
}
