package projections

import "errors"

var errNotYet = errors.New("not built yet")
