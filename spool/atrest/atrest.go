package atrest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"filippo.io/age"

	"telemetry/spool"
)

// Box wraps for its recipients and opens with its identities. It is safe for
// concurrent use.
type Box struct {
	identities []age.Identity
	recipients []age.Recipient
}

var _ spool.KeyBox = (*Box)(nil)

// Load reads an identity file as age-keygen writes it. Its first identity is the box's
// own: what is wrapped can be opened with it and by each of recipients ("age1…"). Further
// identities in the file only open what was wrapped before.
func Load(identityFile string, recipients []string) (*Box, error) {
	f, err := os.Open(identityFile)
	if err != nil {
		return nil, fmt.Errorf("atrest: identity: %w", err)
	}
	defer f.Close()
	b, err := Parse(f, recipients)
	if err != nil {
		return nil, fmt.Errorf("%w (identity file %s)", err, identityFile)
	}
	return b, nil
}

// Parse is Load with the identity file's content.
func Parse(identities io.Reader, recipients []string) (*Box, error) {
	ids, err := age.ParseIdentities(identities)
	if err != nil {
		return nil, fmt.Errorf("atrest: identity: %w", err)
	}
	return newBox(ids, recipients)
}

// Temporary returns a box for a start whose identity cannot be had. It wraps for
// recipients and for an identity that is nowhere but in memory: this process opens what it
// wrapped itself, and nothing else; after its end only the recipients can.
func Temporary(recipients []string) (*Box, error) {
	classic, err := age.GenerateX25519Identity()
	if err != nil {
		return nil, fmt.Errorf("atrest: %w", err)
	}
	b, err := newBox([]age.Identity{classic}, recipients)
	if err == nil {
		return b, nil
	}
	hybrid, herr := age.GenerateHybridIdentity() // the recipients may be such: age does not mix them
	if herr == nil {
		b, herr = newBox([]age.Identity{hybrid}, recipients)
	}
	if herr != nil {
		return nil, err
	}
	return b, nil
}

// newBox returns a box that wraps for the first of ids and for recipients.
func newBox(ids []age.Identity, recipients []string) (*Box, error) {
	b := &Box{identities: ids}
	switch own := ids[0].(type) { // ParseIdentities never returns none
	case *age.X25519Identity:
		b.recipients = append(b.recipients, own.Recipient())
	case *age.HybridIdentity:
		b.recipients = append(b.recipients, own.Recipient())
	default:
		return nil, fmt.Errorf("atrest: identity of type %T has no recipient", own)
	}
	for _, text := range recipients {
		rs, err := age.ParseRecipients(strings.NewReader(text))
		if err != nil {
			return nil, fmt.Errorf("atrest: recipient %q: %w", text, err)
		}
		b.recipients = append(b.recipients, rs...)
	}
	if _, err := b.Wrap(nil); err != nil { // recipients that age does not mix, for one
		return nil, err
	}
	return b, nil
}

// Wrap encrypts b to all recipients, as an age file.
func (x *Box) Wrap(b []byte) ([]byte, error) {
	var out bytes.Buffer
	w, err := age.Encrypt(&out, x.recipients...)
	if err == nil {
		_, err = w.Write(b)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		return nil, fmt.Errorf("atrest: wrap: %w", err)
	}
	return out.Bytes(), nil
}

// Unwrap opens what Wrap made. spool.ErrNoKey says that it was made for others.
func (x *Box) Unwrap(b []byte) ([]byte, error) {
	r, err := age.Decrypt(bytes.NewReader(b), x.identities...)
	var none *age.NoIdentityMatchError
	if errors.As(err, &none) {
		return nil, fmt.Errorf("atrest: unwrap: %w", spool.ErrNoKey)
	}
	if err != nil {
		return nil, fmt.Errorf("atrest: unwrap: %w", err)
	}
	out, err := io.ReadAll(r)
	if err != nil {
		return nil, fmt.Errorf("atrest: unwrap: %w", err)
	}
	return out, nil
}

// Generate makes an identity and writes it to a new file that only its owner reads.
// When it returns the file is durable. It returns the recipient that belongs to it.
func Generate(file string) (recipient string, err error) {
	id, err := age.GenerateX25519Identity()
	if err != nil {
		return "", fmt.Errorf("atrest: %w", err)
	}
	recipient = id.Recipient().String()
	write := func(w io.Writer) error {
		_, err := fmt.Fprintf(w, "# public key: %s\n%s\n", recipient, id)
		return err
	}
	if err := create(file, write, syncDir); err != nil {
		return "", fmt.Errorf("atrest: %w", err)
	}
	return recipient, nil
}

// create makes a new file durable, or leaves none behind.
func create(file string, write func(io.Writer) error, syncDir func(string) error) error {
	f, err := os.OpenFile(file, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	err = write(f)
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = syncDir(filepath.Dir(file))
	}
	if err != nil {
		return errors.Join(err, os.Remove(file))
	}
	return nil
}

func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
