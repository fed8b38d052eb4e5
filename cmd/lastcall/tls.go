package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"math/big"
	"os"
	"sync"
	"time"
)

// What an agent's certificate must be for, whatever address it is reached at: nodes have no names that a certificate could be
// made for once. Another name for those beside consumers: who holds their key, in another namespace, is no node's agent.
const (
	agentServerName  = "lastcall-agent"
	besideServerName = "lastcall-sidecar"
)

// serverTLS is how /v1 is served: with the certificate in the files, read again when they change, or with one made now
// that nobody can verify. HTTP/1.1 only: a stream per agent wants no multiplexing, and costs half the memory.
func serverTLS(certFile, keyFile string) (*tls.Config, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS13, NextProtos: []string{"http/1.1"}}
	if certFile == "" {
		cert, err := selfSigned()
		if err != nil {
			return nil, fmt.Errorf("make a certificate: %w", err)
		}
		config.Certificates = []tls.Certificate{cert}
		return config, nil
	}
	files := &certFiles{cert: certFile, key: keyFile}
	if _, err := files.get(nil); err != nil {
		return nil, err
	}
	config.GetCertificate = files.get
	return config, nil
}

// certFiles is a certificate in files that may be replaced while we run.
type certFiles struct {
	cert, key string

	mu       sync.Mutex
	modified time.Time
	held     *tls.Certificate
}

func (f *certFiles) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	info, err := os.Stat(f.cert)
	if err == nil && f.held != nil && info.ModTime().Equal(f.modified) {
		return f.held, nil
	}
	cert, loadErr := tls.LoadX509KeyPair(f.cert, f.key)
	if err = errors.Join(err, loadErr); err != nil {
		if f.held != nil {
			return f.held, nil // between two writes of a pair, or gone: the old one still serves
		}
		return nil, fmt.Errorf("--tls-cert-file, --tls-key-file: %w", err)
	}
	f.held, f.modified = &cert, info.ModTime()
	return f.held, nil
}

func selfSigned() (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return tls.Certificate{}, err
	}
	template := &x509.Certificate{SerialNumber: serial, Subject: pkix.Name{CommonName: "lastcall self-signed"},
		DNSNames: []string{agentServerName, besideServerName, "lastcall-hub", "localhost"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().AddDate(10, 0, 0),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, err
}

// agentTLS is how the hub speaks to agents: with a CA they are verified, without one the connection is only
// encrypted.
func agentTLS(caFile, name string) (*tls.Config, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS13, ServerName: name, NextProtos: []string{"http/1.1"}}
	if caFile == "" {
		config.InsecureSkipVerify = true
		return config, nil
	}
	pem, err := os.ReadFile(caFile)
	if err != nil {
		return nil, fmt.Errorf("--agent-ca-file: %w", err)
	}
	config.RootCAs = x509.NewCertPool()
	if !config.RootCAs.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("--agent-ca-file: no certificate in %s", caFile)
	}
	return config, nil
}
