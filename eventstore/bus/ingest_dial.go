package bus

import (
	"net"
	"time"

	"code.dny.dev/ssrf"
)

// PublicDial connects to public addresses alone, on any port: the address is
// checked at each connection, after names were resolved, so neither a name nor a
// broker that a cluster tells of leads into a private network.
func PublicDial(network, address string) (net.Conn, error) {
	d := net.Dialer{Timeout: 5 * time.Second, Control: ssrf.New(ssrf.WithAnyPort()).Safe}
	return d.Dial(network, address)
}
