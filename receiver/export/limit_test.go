package export

// SetLimit changes how many cells of one group may wait.
func (w *Writer) SetLimit(cells int) { w.limit = cells }
