package mutants

// All lists the faults. A fault without a test must be caught by the simulation.
func All() []Mutant {
	var all []Mutant
	for _, part := range [][]Mutant{inSpool(), inUplink(), inLoop(), inIngest(), inSequence(), inReorder(), inEpochs(), inWire(), inGuard(), inRates()} {
		all = append(all, part...)
	}
	return all
}

func edit(file, old, to string) []Edit { return []Edit{{file, old, to}} }

func inSpool() []Mutant {
	return []Mutant{
		{Name: "spool: shown before fsync", Edits: edit("spool/commit.go", "	err := log.Sync()\n", "	_ = log\n	var err error\n")},
		{Name: "spool: trim off by one", Edits: edit("spool/trim.go", "c.sealed && c.pending == 0", "c.sealed && c.pending <= 1")},
		{Name: "spool: new chunk's name not synced", Edits: edit("spool/prepare.go", "err := s.disk.SyncDir(parent)", "err := error(nil)")},
		{Name: "spool: unlinked before the cursor is durable", Edits: edit("spool/trim.go",
			"	if err := s.storeBoth(now); err != nil {\n		return err\n	}\n	for _, c := range gone", "	for _, c := range gone")},
		{Name: "spool: cursor settles what is pending", Edits: edit("spool/trim.go",
			"settled: st.settled}", "settled: wire.Ranges{{First: 1, Last: max(1, st.high)}}}")},
		{Name: "spool: loss record names a wrong range", Edits: edit("spool/quota.go", "l.Ranges = l.Ranges.Add(e.seq, e.seq)", "l.Ranges = l.Ranges.Add(e.seq+1, e.seq+1)")},
		{Name: "spool: base too high", Edits: edit("spool/spool.go", "		return min(low, queued)\n", "		return queued\n")},
		{Name: "spool: base passes a loss record that is not acked", Edits: edit("spool/index.go", "len(st.lost) > 0 && (!ok", "len(st.lost) < 0 && (!ok"), Test: []string{"telemetry/spool", "-run", "TestRule02"}},
		{Name: "spool: live base too high", Edits: edit("spool/live.go", "	if len(l.items) > 0 {\n		return l.items[0].item.ID.Seq\n", "	if len(l.items) > 0 {\n		return l.items[0].item.ID.Seq + 1\n"), Test: []string{"telemetry/spool", "-run", "Rule02|Rule06|Live"}},
		{Name: "spool: base of an idle stream never told", Edits: edit("spool/live.go", "	base := l.baseLocked()\n", "	base := l.baseLocked()\n	if base > 0 {\n		return 0, false\n	}\n"), Test: []string{"telemetry/spool", "-run", "TestRule06"}},
		{Name: "spool: predecessor's held set left out", Edits: edit("spool/open.go", "			if len(rs) == 0 {\n				continue\n			}\n			if len(rs) > maxHeldRanges", "			if len(rs) <= 1 {\n				continue\n			}\n			if len(rs) > maxHeldRanges")},
		{Name: "spool: predecessor forgotten", Edits: edit("spool/open.go", "		lineage = append(lineage, s.ident.epoch)\n", "")},
		{Name: "spool: damaged payload handed out", Edits: edit("spool/spool.go", "		got, size, perr := wire.Parse(out[n:])\n",
			"		got, size, perr := wire.Parse(out[n:])\n		if h, err := wire.ParseHeader(out[n:]); perr != nil && err == nil {\n			got, size, perr = wire.Batch{Header: h}, int(e.size), nil\n		}\n")},
		{Name: "spool: quota drops an EpochOpen", Edits: edit("spool/quota.go", "!c.dying && c.opens == 0 &&", "!c.dying &&"), Test: []string{"telemetry/spool", "-run", "TestRule05"}},
	}
}

func inUplink() []Mutant {
	return []Mutant{
		{Name: "uplink: received taken for durable", Edits: edit("uplink/instances.go", "	fresh := sa.Durable\n", "	sa.Durable = sa.Durable.Clone().Union(sa.Received)\n	fresh := sa.Durable\n")},
		{Name: "uplink: loan never returned", Edits: edit("uplink/flight.go", "func (e *Engine) ended(l loan) bool {\n", "func (e *Engine) ended(l loan) bool {\n	if e.now > 0 {\n		return false\n	}\n")},
		{Name: "uplink: base above its batch", Edits: edit("uplink/send.go", "max(1, min(e.store.Base(id.Stream), id.Seq))", "max(1, e.store.Base(id.Stream)+1)")},
		{Name: "uplink: critical waits behind full", Edits: edit("uplink/send.go", "	e.sendCritical()\n	for range maxSendsPerStep {", "	defer e.sendCritical()\n	for range maxSendsPerStep {")},
		{Name: "uplink: a dropped message is never missed", Edits: edit("uplink/flight.go", "	return age >= arrivedMaxNS || ", "	return age < 0 && ")},
		{Name: "uplink: settled only when news", Edits: edit("uplink/instances.go", "if !fresh.Contains(seq) {", "if !fresh.Contains(seq) && e.now < 0 {"), Test: []string{"telemetry/uplink", "-run", "TestABatchThatACloneHasSentIsSettled"}},
	}
}

// inLoop breaks what is around the uplink's engine.
func inLoop() []Mutant {
	const file = "uplink/run.go"
	return []Mutant{
		{Name: "loop: a writer goes on after a failed write", Edits: edit(file, "			u.post(downEvent(key, err))\n			return\n		}\n		r.sent.Add(1)", "			u.post(downEvent(key, err))\n		}\n		r.sent.Add(1)")},
		{Name: "loop: a failed try is no end", Edits: edit(file, "			downEvent(key, err)(u, u.clock.BootNS())\n", "			r.sent.Add(1)\n")},
		{Name: "loop: tries while the writer writes", Edits: edit(file, "ok && r.left.Load() == 0 {", "ok && r.left.Load() >= 0 {")},
		{Name: "loop: what was partly taken is sent again", Edits: edit(file, "		j.flush = took == Partly\n", "")},
		{Name: "loop: a message is given back before the socket has it", Edits: []Edit{
			{file, "	r.left.Add(1)\n	if !j.flush {", "	r.left.Add(1)\n	r.sent.Add(1)\n	if !j.flush {"},
			{file, "		r.sent.Add(1)\n		r.left.Add(-1)\n", "		r.left.Add(-1)\n"},
		}},
		{Name: "loop: a dial that was given up stays connected", Edits: edit(file, "		u.wg.Go(func() { _ = conn.Close() })\n		return\n", "		return\n")},
		{Name: "loop: a connection that is given up stays open", Edits: edit(file, "		u.wg.Go(func() { _ = r.conn.Close() })\n", "")},
		{Name: "loop: goes on when it was told to end", Edits: []Edit{
			{file, "	var published time.Time\n", "	var published time.Time\n	left := 400\n"},
			{file, "		if ctx.Err() != nil {\n			u.stop(ev)\n", "		if ctx.Err() != nil {\n			left--\n		}\n		if left < 0 {\n			u.stop(ev)\n"},
		}},
		{Name: "loop: forgets its timer", Edits: edit(file, "		timer.Reset(max(wait, 0))\n", "		timer.Reset(max(wait, 0) + time.Hour)\n")},
		{Name: "loop: redials without a pause", Edits: edit("uplink/links.go", "	d := min(dialFirstNS<<min(l.fails, 6), dialMaxNS)\n", "	d := int64(dialFirstNS)\n")},
		{Name: "loop: previews older than 2 s are sent", Edits: edit("spool/live.go", "now-l.items[n].item.SealedNS > l.maxAge)", "now-l.items[n].item.SealedNS > 2*l.maxAge)")},
		{Name: "loop: what was sent is not told", Edits: edit(file, "		for range r.sent.Swap(0) {", "		for range min(1, r.sent.Swap(0)) {")},
		{Name: "loop: one moment's wake-ups are two steps", Edits: edit(file, "	now := u.clock.BootNS()\n	select {\n	case <-u.store.Wake():\n	default:\n	}\n", "	select {\n	case <-u.store.Wake():\n	default:\n	}\n	now := u.clock.BootNS()\n"), Test: []string{"telemetry/uplink", "-run", "TestWakeUps"}},
		{Name: "loop: the ledger is written when power is going", Edits: edit("uplink/ledger.go", "	if l.Write != nil {\n", "	if l.Write != nil && len(all) == 0 {\n"), Test: []string{"telemetry/uplink", "-run", "TestBudgetsAreNotWritten"}},
	}
}

func inIngest() []Mutant {
	return []Mutant{
		{Name: "ingest: durable when received", Edits: edit("receiver/ingest/batch.go", "st.received = st.received.Add(h.Seq, h.Seq)", "st.durable = st.durable.Add(h.Seq, h.Seq)")},
		{Name: "ingest: failed write taken for final", Edits: edit("receiver/ingest/produced.go", "if err != nil && !errors.Is(err, topic.ErrUnacceptable) {", "if err != nil && errors.Is(err, topic.ErrUnacceptable) && err == nil {")},
		{Name: "ingest: failed write forgotten", Edits: edit("receiver/ingest/produced.go", "		c.out.Produce = append(c.out.Produce, Produce{token, p.rec})\n", "")},
		{Name: "ingest: no wait for the catalogue", Edits: edit("receiver/ingest/hold.go", "|| !c.ready(k, p.hash)", "|| p.bytes < 0")},
		{Name: "ingest: below base ignored", Edits: edit("receiver/ingest/batch.go", "	st.lastAt = max(st.lastAt, now)\n", "	if h.Seq < st.base {\n		return\n	}\n	st.lastAt = max(st.lastAt, now)\n"), Test: []string{"telemetry/receiver/ingest", "-run", "TestRule17"}},
		{Name: "ingest: pulled copy merged into an unpulled one", Edits: edit("receiver/ingest/batch.go", "case s.Pulled && !st.pulled.Contains(h.Seq):", "case s.Pulled && h.Seq == 0:"), Test: []string{"telemetry/receiver/ingest", "-run", "TestRule16"}},
		{Name: "ingest: conflict taken for a copy", Edits: edit("receiver/ingest/stream.go", "return e.seq == seq && e.crc != crc", "return e.seq == seq && e.crc != crc && seq == 0"), Test: []string{"telemetry/receiver/ingest", "-run", "Conflict"}},
		{Name: "ingest: a catalogue lost once is lost for ever", Edits: edit("receiver/ingest/stream.go", "	if len(k.lost) > 0 && !k.hasEpoch(key.epoch) {\n", "	if len(k.lost) < 0 {\n"), Test: []string{"telemetry/receiver/ingest", "-run", "TestANewStart"}},
		{Name: "ingest: credit without end", Edits: edit("receiver/ingest/hold.go", "return uint64(max(0, min(mine, all", "return uint64(max(1<<30, min(mine, all"), Test: []string{"telemetry/receiver/ingest", "-run", "TestRule19"}},
	}
}

func inSequence() []Mutant {
	return []Mutant{
		{Name: "sequence: offset committed past a held batch", Edits: edit("receiver/sequence/commit.go", "	offset := p.lowest()\n", "	offset := p.position\n")},
		{Name: "sequence: dedup forgotten after a rebalance", Edits: edit("receiver/sequence/partition.go", "	c, err := parseCar(&p.cfg, key, r.Value)\n", "	c, err := parseCar(&p.cfg, key, r.Value)\n	c = newCar(&p.cfg, key)\n")},
		{Name: "sequence: state not written without output", Edits: edit("receiver/sequence/commit.go", "		if !c.dirty {\n			continue\n		}\n		var v []byte", "		if !c.dirty || len(p.out.Records) == 0 {\n			continue\n		}\n		var v []byte")},
		{Name: "sequence: queue left out of the state", Edits: edit("receiver/sequence/car.go", "dst = c.queue[i].append(dst)", "dst = new(fifo).append(dst[:len(dst)+0*i])"), Test: []string{"telemetry/receiver/sequence", "-run", "."}},
		{Name: "sequence: outputs of a commit cut off are written again", Edits: edit("receiver/sequence/written.go", "	if len(p.written) == 0 {\n		return false\n", "	if len(p.written) >= 0 {\n		return false\n"), Test: []string{"telemetry/receiver/sequence", "-run", "."}},
		{Name: "sequence: what is gone is told only with new data", Edits: edit("receiver/sequence/partition.go", "(c.core.Held() > 0 || c.core.Restoring())", "c.core.Held() > 0"), Test: []string{"telemetry/receiver/sequence", "-run", "TestRule15"}},
		{Name: "sequence: what a dead owner wrote is told missing", Edits: edit("receiver/sequence/partition.go", "	c.core.Written(p.writtenOf)\n", ""), Test: []string{"telemetry/receiver/sequence", "-run", "TestDeletedAndWritten"}},
		{Name: "sequence: spent control is in no topic", Edits: edit("receiver/sequence/partition.go", "	if !p.takesSealed(d.ID.Stream.Lane) {\n		stats.Spent++", "	if d.Offset >= 0 {\n		stats.Spent++"), Test: []string{"telemetry/receiver/sequence", "-run", "TestRule04"}},
		{Name: "sequence: events alone pass for a sealed batch", Edits: edit("receiver/sequence/written.go", "	sealed := p.takesSealed(st.Lane)\n", "	sealed := p.takesSealed(st.Lane) && p.total < 0\n"), Test: []string{"telemetry/receiver/sequence", "-run", "TestFilteredWritten"}},
		{Name: "sequence: a filtered batch is never whole", Edits: edit("receiver/sequence/written.go", "		if n.made > 0 {\n", "		if n.made < 0 {\n"), Test: []string{"telemetry/receiver/sequence", "-run", "TestFilteredWritten"}},
		{Name: "sequence: a topic made anew is taken for the old one", Edits: edit("receiver/sequence/partition.go", "ok && was != is {", "ok && was != is && input < 0 {"), Test: []string{"telemetry/receiver/sequence", "-run", "MadeAnew|WithoutATopic"}},
		{Name: "sequence: every new car starts inside an old log", Edits: edit("receiver/sequence/apply.go", "if p.logStart > p.input && (p.loadEnd < 0 || offset < p.loadEnd) {", "if p.logStart > 0 && offset >= 0 {"), Test: []string{"telemetry/receiver/sequence", "-run", "TestNewCarInAnOldLog"}},
		{Name: "sequence: records below the state's offset are decided again", Edits: edit("receiver/sequence/partition.go", "return p.position < p.rebuildTo", "return p.position < p.rebuildTo && p.nowMS < 0"), Test: []string{"telemetry/receiver/sequence", "-run", "."}},
	}
}

func inReorder() []Mutant {
	return []Mutant{
		{Name: "reorder: window half as long", Edits: edit("reorder/time.go", "at: t + ln.window,", "at: t + ln.window/2,")},
		{Name: "reorder: window twenty times as long", Edits: edit("reorder/time.go", "at: t + ln.window,", "at: t + 20*ln.window,")},
		{Name: "reorder: delivered twice", Edits: edit("reorder/car.go", "	if known == delivered || known == holding {\n		out.Duplicates++", "	if known == holding {\n		out.Duplicates++")},
		{Name: "reorder: loss record wins over the truth", Edits: edit("reorder/settle.go", "		case unknown:\n			if !c.addMissing", "		case unknown, holding:\n			if !c.addMissing"), Test: []string{"telemetry/reorder", "-run", "TestRule03"}},
		{Name: "reorder: next epoch does not wait", Edits: edit("reorder/lane.go", "		if !x.complete() {\n			return\n		}\n		c.tail(x, out)", "		if !x.complete() {\n			continue\n		}\n		c.tail(x, out)")},
		{Name: "reorder: late batch keeps its gap", Edits: edit("reorder/car.go", "func (c *Car) late(x *stream, seq uint64, known class, e entry, in *Input, out *Out) {\n	if known == lost {", "func (c *Car) late(x *stream, seq uint64, known class, e entry, in *Input, out *Out) {\n	if known == blurred {")},
		{Name: "reorder: pulled batch opens a hole", Edits: edit("reorder/car.go", "	if !in.Send.Pulled && (", "	if ("), Test: []string{"telemetry/reorder", "-run", "Rule16|Pull"}},
		{Name: "reorder: predecessors are not settled", Edits: edit("reorder/control.go", "		c.closeStream(x, still[x], wire.ReasonEpoch, out)\n", "		_ = still[x]\n")},
		{Name: "reorder: base settles in full", Edits: edit("reorder/settle.go", "	if x.id.Lane == wire.LaneLive {\n		c.settle(", "	if x.id.Lane != wire.LaneCritical {\n		c.settle("), Test: []string{"telemetry/reorder", "-run", "TestRule02"}},
		{Name: "reorder: streams are born open", Edits: edit("reorder/car.go", "x.ended = e.closed // born closed", "x.ended = false // born closed"), Test: []string{"telemetry/reorder", "-run", "TestRule10"}},
		{Name: "reorder: held ranges left out of the state", Edits: edit("reorder/state.go", "	held = held[:min(len(held), w.room)]\n", "	held = held[:0]\n"), Test: []string{"telemetry/reorder", "-run", "TestRule15"}},
		{Name: "reorder: held ranges of the state forgotten", Edits: edit("reorder/rebuild.go", "			c.lostWhileHeld(x, out)\n", "			x.expect = nil\n"), Test: []string{"telemetry/reorder", "-run", "TestRule15"}},
		{Name: "reorder: a state of version 1 read as version 2", Edits: edit("reorder/parse.go", "	if r.version < 2 {\n		most = 1<<5 - 1\n	}\n	f := r.flags(most)\n", "	f := r.flags(most)\n	if r.version < 2 {\n		r.set()\n	}\n"), Test: []string{"telemetry/reorder", "-run", "TestStateOfVersion1"}},
		{Name: "reorder: a state of version 1 refused", Edits: edit("reorder/state.go", "	oldestState  = 1\n", "	oldestState  = 2\n"), Test: []string{"telemetry/reorder", "-run", "TestStateOfVersion1"}},
		{Name: "reorder: what retention has deleted is blamed on the car", Edits: edit("reorder/settle.go", "fromCar(g.reason) || g.reason == wire.ReasonRetention && !x.epoch.inside {", "fromCar(g.reason) {"), Test: []string{"telemetry/reorder", "-run", "TestRule03"}},
		{Name: "reorder: spent control delivered again", Edits: edit("reorder/car.go", "	x.done = x.done.Add(seq, seq)\n	c.otherCount += len(x.done) - n\n	x.remember(seq, e.crc)\n	out.Held--\n", "	c.otherCount += len(x.done) - n\n	x.remember(seq, e.crc)\n	out.Held--\n")},
		{Name: "reorder: control that waits holds the offset", Edits: edit("reorder/car.go", "		c.spend(x, seq, out)\n", "		_ = seq\n"), Test: []string{"telemetry/reorder", "-run", "TestRule04"}},
		{Name: "reorder: live base ignored", Edits: edit("reorder/settle.go", "		c.settle(x, x.floor+1, base-1, wire.ReasonSuperseded, out)\n", ""), Test: []string{"telemetry/reorder", "-run", "TestRule02"}},
	}
}

// inEpochs breaks the order of a card's starts.
func inEpochs() []Mutant {
	const file = "reorder/epoch.go"
	test := []string{"telemetry/reorder", "-run", "TestRule09"}
	return []Mutant{
		{Name: "reorder: first sight decides between unopened epochs", Edits: edit(file, "k.id.Counter > id.Counter && last.anew(k.id) ==", "k.id.Counter > id.Counter && c.now < 0 && last.anew(k.id) =="), Test: test},
		{Name: "reorder: a card that counts anew comes before the old one's last epoch", Edits: edit(file, "last.anew(k.id) == last.anew(id) {", "(last.anew(k.id) == last.anew(id) || c.now >= 0) {"), Test: test},
		{Name: "reorder: the starts of a card that counts anew stand as they were seen", Edits: edit(file, "last.anew(k.id) == last.anew(id) {", "!last.anew(k.id) && !last.anew(id) {"), Test: test},
		{Name: "reorder: released in one lane, an epoch stands before older ones in all", Edits: edit(file, "return e.opened || e.closed }", "return e.opened || e.closed || slices.ContainsFunc(e.streams, func(x *stream) bool { return x.released }) }"), Test: test},
		{Name: "reorder: a new card's EpochOpen does not restore first sight", Edits: edit(file, "return !k.placed() && k.seen && k.id.Counter > e.id.Counter", "return !k.placed() && k.seen && k.id.Counter < e.id.Counter"), Test: test},
		{Name: "reorder: a new card's first start comes after its second one", Edits: edit(file, "c.seenBefore(c.epochs[to+1], e) && !last.anew(c.epochs[to+1].id) {", "c.seenBefore(c.epochs[to+1], e) {"), Test: test},
		{Name: "reorder: what a wrong order made late stays late", Edits: edit("reorder/lane.go", "		x.cut = x.cut && ln.index(x) < ln.cur\n", "		_ = x\n"), Test: test},
		{Name: "reorder: an abandoned epoch waits for a running one", Edits: edit("reorder/control.go", "		if len(x.held) > 0 && x.lane.behindOpen(x) {\n", "		if len(x.held) < 0 && x.lane.behindOpen(x) {\n"), Test: []string{"telemetry/reorder", "-run", "TestRule09"}},
	}
}

func inWire() []Mutant {
	return []Mutant{
		{Name: "wire: CRC over a wrong range", Edits: []Edit{
			{"wire/envelope.go", "dst = appendU32(dst, checksum(payload))", "dst = appendU32(dst, checksum(payload[1:]))"},
			{"wire/envelope.go", "if checksum(p) != h.PayloadCRC {", "if checksum(p[min(1, len(p)):]) != h.PayloadCRC {"},
		}, Test: []string{"telemetry/wire", "-run", "."}},
		{Name: "wire: range set loses its last number", Edits: edit("wire/ranges.go", "		keep[n] = Range{last + 1, rs[hi-1].Last}\n", "		keep[n] = Range{last + 1, max(last+1, rs[hi-1].Last-1)}\n"), Test: []string{"telemetry/wire", "-run", "Ranges"}},
	}
}

// inGuard breaks what stands between the page and whoever asks.
func inGuard() []Mutant {
	const guard, origin, proxy = "receiver/live/guard/guard.go", "receiver/live/guard/origin.go", "receiver/live/guard/proxy.go"
	by := func(test string) []string { return []string{"telemetry/receiver/live/guard", "-run", "^" + test + "$"} }
	return []Mutant{
		{Name: "guard: another host of the domain passes for the page", Edits: edit(origin, `	case "same-origin":`, `	case "same-origin", "same-site":`), Test: by("TestOriginOf")},
		{Name: "guard: a link that was typed passes for the page", Edits: edit(origin, `	case "same-origin":`, `	case "same-origin", "none":`), Test: by("TestOtherOrigins")},
		{Name: "guard: Origin wins over Sec-Fetch-Site", Edits: edit(origin, "	default:\n		return originOther\n", "	default:\n"), Test: by("TestOriginOf")},
		{Name: "guard: no origin is the page's", Edits: edit(origin, "return originUnknown\n", "return originSame\n"), Test: by("TestOtherOrigins")},
		{Name: "guard: another port of the host passes for the page", Edits: edit(origin, "strings.EqualFold(u.Host, r.Host)", `strings.EqualFold(u.Hostname(), strings.Split(r.Host, ":")[0])`), Test: by("TestOtherOrigins")},
		{Name: "guard: the first of two origins counts", Edits: edit(origin, "len(values) > 1 || ", ""), Test: by("TestOtherOrigins")},
		{Name: "guard: an origin without a host is the proxy's", Edits: edit(origin, `u.Host == "" || `, ""), Test: by("TestOriginOf")},
		{Name: "guard: a page without TLS speaks for one with it", Edits: edit(origin, `r.TLS != nil && u.Scheme != "https"`, `r.TLS != nil && u.Scheme == ""`), Test: by("TestTLSPageHasTLSOrigins")},
		{Name: "guard: anybody names the host", Edits: edit(origin, "trusted && strings.EqualFold", "strings.EqualFold"), Test: by("TestOtherOrigins")},
		{Name: "guard: a revoked token's cookie holds", Edits: edit(guard, "	e, ok = g.opt.Tokens.Lookup(p.token, now)\n", "	e, ok = g.opt.Tokens.Lookup(p.token, now)\n	ok = ok || p.kind == ByCookie\n"), Test: by("TestOpenStreamsEnd")},
		{Name: "guard: an expired token's cookie holds", Edits: edit(guard, "	case e.Expired(now):\n", "	case e.Expired(now) && p.kind == ByBearer:\n"), Test: by("TestTokensEndByTime")},
		{Name: "guard: an open stream outlives the script's token", Edits: edit(guard, "	case e.Expired(now):\n", "	case e.Expired(now) && p.kind == ByCookie:\n"), Test: by("TestOpenStreamsOfScriptsEnd")},
		{Name: "guard: nobody looks at the streams of scripts", Edits: edit(guard, "	if p.kind != ByCookie && p.kind != ByBearer {\n		return", "	if p.kind != ByCookie {\n		return"), Test: by("TestOpenStreamsOfScriptsEnd")},
		{Name: "guard: a session stays when its token has gone", Edits: edit(guard, "	if !ok && p.kind == ByCookie {\n		g.sessions.end(p.id)\n", "	if !ok && p.kind == ByCookie {\n"), Test: by("TestRevokedAndChanged")},
		{Name: "guard: without a proxy everybody is one", Edits: edit(proxy, "	if p == nil {\n		return false\n", "	if p == nil {\n		return true\n"), Test: by("TestTrusts|TestForwardedHeadersWithoutAProxy")},
		{Name: "guard: every address is the proxy's", Edits: edit(proxy, "if n.Contains(a) {", "if n.IsValid() {"), Test: by("TestRefusals")},
		{Name: "guard: only the proxy's first network counts", Edits: edit(proxy, "range p.From {", "range p.From[:min(1, len(p.From))] {"), Test: by("TestProxyNamesPeople")},
		{Name: "guard: the proxy's address within IPv6 is another", Edits: edit(proxy, `at.Addr().Unmap().WithZone("")`, `at.Addr().WithZone("")`), Test: by("TestProxyNamesPeople")},
		{Name: "guard: a zone hides the proxy", Edits: edit(proxy, `at.Addr().Unmap().WithZone("")`, "at.Addr().Unmap()"), Test: by("TestTrusts")},
		{Name: "guard: whom the client names is counted against", Edits: edit(proxy, "lines[len(lines)-1]", "lines[0]"), Test: by("TestClient")},
	}
}

// inRates breaks the meter of what one car sends.
func inRates() []Mutant {
	const file = "receiver/ingest/rate.go"
	test := []string{"telemetry/receiver/ingest", "-run", "^TestMeter$"}
	return []Mutant{
		{Name: "rates: many small messages are free", Edits: edit(file, "max(m.bytesAt, m.packetsAt) - now", "m.bytesAt - now"), Test: test},
		{Name: "rates: large messages are free", Edits: edit(file, "max(m.bytesAt, m.packetsAt) - now", "m.packetsAt - now"), Test: test},
		{Name: "rates: no burst", Edits: edit(file, "- now - int64(burst))", "- now - 0*int64(burst))"), Test: test},
		{Name: "rates: who was quiet has saved up for hours", Edits: edit(file, "m.bytesAt = max(m.bytesAt, now) +", "m.bytesAt = m.bytesAt +"), Test: test},
	}
}
