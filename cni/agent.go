package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
	"time"
)

const (
	pause       = 100 * time.Millisecond
	restart     = 3 * time.Second // for an agent that is just being restarted
	noPatience  = 0
	longestLine = 64 << 10
)

// ask puts one question to the agent, with an open network namespace, and waits for its yes.
func ask(given config, question map[string]any, namespace *os.File, patience time.Duration) error {
	end := time.Now().Add(given.wait())
	for {
		again, err := askOnce(given, question, namespace, end, patience)
		if !again || time.Now().After(end) {
			return err
		}
		time.Sleep(pause)
	}
}

// askOnce also says whether another agent has taken over meanwhile, which is to be asked.
func askOnce(given config, question map[string]any, namespace *os.File, end time.Time, patience time.Duration) (bool, error) {
	agent, err := dial(given.Socket, min(patience, given.wait()))
	if err != nil {
		return false, fail(codeAgain, "the node's agent of the mesh is not there; try again later", err)
	}
	defer agent.Close()
	if err := agent.SetDeadline(end); err != nil {
		return false, fail(codeAgain, "the connection to the node's agent failed; try again later", err)
	}
	line, err := json.Marshal(question)
	if err != nil {
		return false, err
	}
	var rights []byte
	if namespace != nil {
		rights = syscall.UnixRights(int(namespace.Fd()))
	}
	line = append(line, '\n')
	written, _, err := agent.WriteMsgUnix(line, rights, nil)
	if err == nil && written < len(line) {
		_, err = agent.Write(line[written:])
	}
	if err != nil {
		return false, fail(codeAgain, "the node's agent of the mesh does not listen; try again later", err)
	}
	return reply(agent, given.wait())
}

func reply(agent io.Reader, waited time.Duration) (bool, error) {
	line, err := bufio.NewReader(io.LimitReader(agent, longestLine)).ReadBytes('\n')
	if err != nil {
		return false, fail(codeAgain, "the node's agent of the mesh did not answer; try again later",
			fmt.Sprintf("within %s: %v", waited, err))
	}
	var said struct {
		OK    bool   `json:"ok"`
		Again bool   `json:"again"`
		Error string `json:"error"`
	}
	if err := json.Unmarshal(line, &said); err != nil {
		return false, fail(codeAgain, "the node's agent of the mesh answered nonsense", err)
	}
	if !said.OK {
		return said.Again, fail(codeAgain, "the node's agent of the mesh says no; try again later", said.Error)
	}
	return false, nil
}

// dial connects; an agent that is being restarted is given so much time.
func dial(path string, patience time.Duration) (*net.UnixConn, error) {
	end := time.Now().Add(patience)
	for {
		agent, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: path, Net: "unix"})
		if err == nil || time.Now().Add(pause).After(end) {
			return agent, err
		}
		time.Sleep(pause)
	}
}
