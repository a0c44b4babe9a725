import { defineConfig } from 'vite';

// While developing, Vite serves the page and hands the calls on; the hub wants to be asked by its own origin.
const server = 'http://127.0.0.1:8080';

export default defineConfig({
  build: { assetsInlineLimit: 0 },
  server: {
    proxy: {
      '/v1': { target: server, changeOrigin: true, ws: true, headers: { origin: server } },
    },
  },
});
