package dbc

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
)

// message is one that cantools knows.
type message struct {
	ID       uint32 `json:"id"`
	Extended bool   `json:"extended"`
	Name     string `json:"name"`
	Size     int    `json:"size"`
	// Names that several signals of the message have, for which cantools gives
	// one value, and where those signals start.
	Dropped   []string `json:"dropped"`
	Ambiguous []int    `json:"ambiguous"`
	// Names of signals that cantools gives no value for in any payload.
	Unreachable []string `json:"unreachable"`
}

// oracle is cantools in a process of its own.
type oracle struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
}

func startOracle(cfg Config) (*oracle, error) {
	cmd := exec.Command(cfg.Python, cfg.Script)
	cmd.Stderr = cfg.Progress
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("dbc: cantools: %w", err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("dbc: cantools: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("dbc: start cantools: %w", err)
	}
	return &oracle{cmd, in, bufio.NewReader(out)}, nil
}

// close ends the process.
func (o *oracle) close() error {
	if err := errors.Join(o.in.Close(), o.cmd.Wait()); err != nil {
		return fmt.Errorf("dbc: cantools: %w", err)
	}
	return nil
}

func (o *oracle) ask(request, answer any) error {
	b, err := json.Marshal(request)
	if err == nil {
		_, err = o.in.Write(append(b, '\n'))
	}
	var line []byte
	if err == nil {
		line, err = o.out.ReadBytes('\n')
	}
	if err == nil {
		err = json.Unmarshal(line, answer)
	}
	if err != nil {
		return fmt.Errorf("dbc: ask cantools: %w", err)
	}
	return nil
}

// load returns the messages of a file, or why cantools can't read it.
func (o *oracle) load(path string) (messages []message, why string, err error) {
	var answer struct {
		Messages []message `json:"messages"`
		Error    string    `json:"error"`
	}
	err = o.ask(map[string]any{"load": path}, &answer)
	return answer.Messages, answer.Error, err
}

// decode returns raw and physical value of each signal in each payload; nil for
// a payload that cantools refuses.
func (o *oracle) decode(m message, payloads []string) ([]map[string][2]string, error) {
	var answer struct {
		Values []map[string][2]string `json:"values"`
	}
	err := o.ask(map[string]any{"id": m.ID, "extended": m.Extended, "data": payloads}, &answer)
	if err == nil && len(answer.Values) != len(payloads) {
		err = fmt.Errorf("dbc: cantools decoded %d of %d payloads", len(answer.Values), len(payloads))
	}
	return answer.Values, err
}
