package ingest

import (
	"errors"
	"time"

	"telemetry/wire"
)

var (
	// ErrUnreachable means that no link of the car has been heard of lately.
	ErrUnreachable = errors.New("ingest: car is not reachable through this instance")
	// ErrBusy means that too many commands wait for their answers.
	ErrBusy = errors.New("ingest: too many commands under way")
)

// command is a request that waits for its answer.
type command struct {
	car      string
	expireAt int64
	internal bool // for a catalogue: reported to nobody
}

// Command sends a request to a car over the link that was heard last. Its
// answer, or its expiry, comes out in Outputs.Answered with the same id.
func (c *Core) Command(now int64, car, verb string, args map[string]string, life time.Duration) (uint64, error) {
	k := c.cars[car]
	if k == nil {
		return 0, ErrUnreachable
	}
	link, ok := k.bestLink(now)
	if !ok {
		return 0, ErrUnreachable
	}
	life = min(max(life, time.Millisecond), maxCommandLife)
	id := c.newCommand(car, now+int64(life), false)
	if id == 0 {
		return 0, ErrBusy
	}
	cmd := wire.Command{ID: id, NotAfterNS: k.clock(now) + int64(life), Verb: verb, Args: args}
	c.out.Publish = append(c.out.Publish, Publish{ctlTopic(car, link), wire.AppendCommand(nil, &cmd)})
	c.n.Commands++
	return id, nil
}

// newCommand notes a command and returns its id; 0 when there are too many.
func (c *Core) newCommand(car string, expireAt int64, internal bool) uint64 {
	if len(c.commands) >= maxCommands && !internal {
		return 0
	}
	c.commandID++
	if c.commandID == 0 {
		c.commandID++
	}
	c.commands[c.commandID] = &command{car: car, expireAt: expireAt, internal: internal}
	return c.commandID
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
	delete(c.commands, a.ID)
	k := c.cars[name]
	if k != nil {
		k.heardAt = max(k.heardAt, now)
	}
	if !cmd.internal {
		c.out.Answered = append(c.out.Answered, Answered{name, *a})
	} else if k != nil {
		c.catalogueAnswered(now, k, a.ID, a.OK)
	}
}

// expireCommands ends the commands that nobody answered in time.
func (c *Core) expireCommands(now int64) {
	for id, cmd := range c.commands {
		if now < cmd.expireAt {
			continue
		}
		delete(c.commands, id)
		if k := c.cars[cmd.car]; cmd.internal && k != nil {
			c.catalogueAnswered(now, k, id, true) // nothing was said: ask again
		} else if !cmd.internal {
			a := wire.Answer{ID: id, Error: "no answer before the command expired"}
			c.out.Answered = append(c.out.Answered, Answered{cmd.car, a})
		}
	}
}
