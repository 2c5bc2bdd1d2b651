package ingest

import (
	"errors"
	"time"

	"telemetry/wire"
)

var (
	errHash = errors.New("ingest: catalogue does not have the hash that it was sent under")

	// ErrUnreachable means that no link of the car has been heard of lately.
	ErrUnreachable = errors.New("ingest: car is not reachable through this instance")
	// ErrBusy means that too many commands wait for their answers.
	ErrBusy = errors.New("ingest: too many commands under way")
)

// command is a request that waits for its answer.
type command struct {
	car      string
	expireAt int64
	internal bool // asked by the core itself, reported to nobody
}

// Command sends a request to a car over the link that was heard last. Its
// answer, or its expiry, comes out in Outputs.Answered with the same id.
func (c *Core) Command(now int64, car, verb string, args map[string]string, life time.Duration) (uint64, error) {
	return c.send(now, car, verb, args, life)
}

func (c *Core) send(now int64, name, verb string, args map[string]string, life time.Duration) (uint64, error) {
	k := c.cars[name]
	if k == nil {
		return 0, ErrUnreachable
	}
	link, ok := k.bestLink(now)
	if !ok {
		return 0, ErrUnreachable
	}
	if len(c.commands) >= maxCommands {
		return 0, ErrBusy
	}
	c.commandID++
	life = max(life, time.Millisecond)
	cmd := wire.Command{ID: c.commandID, ExpiresMS: uint32(min(life.Milliseconds(), 1<<31)), Verb: verb, Args: args}
	c.commands[cmd.ID] = &command{car: name, expireAt: now + int64(life)}
	c.out.Publish = append(c.out.Publish, Publish{ctlTopic(name, link), wire.AppendCommand(nil, &cmd)})
	c.n.Commands++
	return cmd.ID, nil
}

// answer takes a car's reply to a command.
func (c *Core) answer(now int64, name string, payload []byte) {
	a, err := wire.ParseAnswer(payload)
	if err != nil {
		c.n.Undecodable++
		return
	}
	cmd := c.commands[a.ID]
	if cmd == nil || cmd.car != name {
		c.n.AnswersUnasked++
		return
	}
	c.n.Answers++
	if k := c.cars[name]; k != nil {
		k.heardAt = max(k.heardAt, now)
	}
	if cmd.internal {
		return // a catalogue: its parts say more than the answer
	}
	delete(c.commands, a.ID)
	c.out.Answered = append(c.out.Answered, Answered{name, *a})
}

// expireCommands ends the commands that nobody answered in time.
func (c *Core) expireCommands(now int64) {
	for id, cmd := range c.commands {
		if now < cmd.expireAt {
			continue
		}
		delete(c.commands, id)
		if !cmd.internal {
			a := wire.Answer{ID: id, Error: "no answer before the command expired"}
			c.out.Answered = append(c.out.Answered, Answered{cmd.car, a})
		}
	}
}
