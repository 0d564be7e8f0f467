package bus

import (
	"github.com/IBM/sarama"
	"github.com/xdg-go/scram"
)

// scramClient is one conversation of RFC 5802 as sarama wants it.
type scramClient struct {
	hash         scram.HashGeneratorFcn
	conversation *scram.ClientConversation
}

func scramSHA256() sarama.SCRAMClient { return &scramClient{hash: scram.SHA256} }
func scramSHA512() sarama.SCRAMClient { return &scramClient{hash: scram.SHA512} }

// Begin starts a conversation; the password is normalised as RFC 5802 says.
func (s *scramClient) Begin(user, password, authorization string) error {
	client, err := s.hash.NewClient(user, password, authorization)
	if err != nil {
		return err
	}
	s.conversation = client.NewConversation()
	return nil
}

// Step answers the server's challenge.
func (s *scramClient) Step(challenge string) (string, error) { return s.conversation.Step(challenge) }

// Done says whether nothing more is to be answered.
func (s *scramClient) Done() bool { return s.conversation.Done() }
