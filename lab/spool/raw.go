package spool

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
)

// The raw control is the simplest program that keeps a promise: append, sync,
// tell. If it loses what it told, the laboratory is at fault and not the spool.

// rawChild appends records of random size: length u32, number u64, CRC32C u32, bytes.
func rawChild(c ChildSpec, stdout io.Writer) error {
	f, err := os.OpenFile(filepath.Join(c.Dir, "raw"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return err
	}
	defer f.Close()
	dir, err := os.Open(c.Dir)
	if err != nil {
		return err
	}
	defer dir.Close()
	if err := dir.Sync(); err != nil {
		return err
	}
	rnd := rand.New(rand.NewPCG(c.Seed, 3))
	for n := uint64(1); ; n++ {
		b := make([]byte, 16+c.Min+rnd.IntN(max(1, c.Max-c.Min)))
		body := b[16:]
		for i := range body {
			body[i] = byte(n) + byte(i)
		}
		binary.LittleEndian.PutUint32(b, uint32(len(body)))
		binary.LittleEndian.PutUint64(b[4:], n)
		binary.LittleEndian.PutUint32(b[12:], crcOf(body))
		if _, err := f.Write(b); err != nil {
			return err
		}
		if err := f.Sync(); err != nil {
			return err
		}
		if _, err := fmt.Fprintf(stdout, "A %d\n", n); err != nil {
			return err
		}
	}
}

// rawReadChild says how many whole records stand in the file.
func rawReadChild(c ChildSpec, stdout io.Writer) error {
	f, err := os.Open(filepath.Join(c.Dir, "raw"))
	if err != nil {
		return err
	}
	defer f.Close()
	in := bufio.NewReader(f)
	n := uint64(0)
	for {
		var head [16]byte
		if _, err := io.ReadFull(in, head[:]); err != nil {
			break
		}
		size := binary.LittleEndian.Uint32(head[:])
		if size > 1<<20 || binary.LittleEndian.Uint64(head[4:]) != n+1 {
			break
		}
		body := make([]byte, size)
		if _, err := io.ReadFull(in, body); err != nil || crcOf(body) != binary.LittleEndian.Uint32(head[12:]) {
			break
		}
		n++
	}
	_, err = fmt.Fprintf(stdout, "H %d\nD\n", n)
	return err
}
