package kafkafire

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// brokers are the three nodes that scripts/kafka.sh has started in a folder.
type brokers struct {
	script, dir string
	port        int
}

// addresses returns what clients are told.
func (b brokers) addresses() []string {
	var out []string
	for i := range 3 {
		out = append(out, fmt.Sprintf("127.0.0.1:%d", b.port+i))
	}
	return out
}

// kill ends a node with SIGKILL.
func (b brokers) kill(node int) error {
	text, err := os.ReadFile(filepath.Join(b.dir, strconv.Itoa(node), "pid"))
	if err != nil {
		return fmt.Errorf("kafkafire: broker %d: %w", node, err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err == nil {
		err = syscall.Kill(pid, syscall.SIGKILL)
	}
	if err != nil {
		return fmt.Errorf("kafkafire: kill broker %d: %w", node, err)
	}
	return nil
}

// restart starts what does not run.
func (b brokers) restart(ctx context.Context) error {
	out, err := exec.CommandContext(ctx, b.script, "start3", b.dir, strconv.Itoa(b.port)).CombinedOutput()
	if err != nil {
		return fmt.Errorf("kafkafire: start brokers: %w\n%s", err, out)
	}
	return nil
}
