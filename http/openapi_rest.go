package http

func (s *Server) restOfReference() {}
