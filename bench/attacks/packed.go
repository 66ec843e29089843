package main

import (
	"bytes"
	"compress/gzip"
	"sync"
)

const gzipCodec = 1

func gzipped(records []byte) []byte {
	var out bytes.Buffer
	writer := gzip.NewWriter(&out)
	_, err := writer.Write(records)
	check(err)
	check(writer.Close())
	return out.Bytes()
}

func onceBytes(make func() []byte) func() []byte { return sync.OnceValue(make) }
