# The replicator for production: its own files and production dependencies, as an unprivileged user.
#
#   docker build --tag drawbridge-replicator .
#
# The target `local` is the whole project with everything it needs to run on one machine, for docker-compose.yml.

# The full image, since the worker's local runtime is watched with `ps`, which the slim one does not have.
FROM node:24.21.0-bookworm AS local
RUN mkdir /app /state && chown node:node /app /state
WORKDIR /app
USER node
COPY --chown=node:node package.json package-lock.json .npmrc ./
RUN npm ci
COPY --chown=node:node . .
CMD ["node", "dev/worker.ts"]

FROM node:24.21.0-bookworm-slim AS replicator
ENV NODE_ENV=production
ENV DRAWBRIDGE_HTTP_HOST=0.0.0.0
ENV DRAWBRIDGE_HTTP_PORT=9464
WORKDIR /app
COPY package.json package-lock.json .npmrc ./
RUN npm ci --omit=dev && npm cache clean --force
COPY protocol ./protocol
COPY replicator ./replicator
USER node
EXPOSE 9464
# SIGTERM lets it finish what is in flight and confirm it; Node takes the signal itself, so it is the first process.
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=5s CMD ["node", "-e", "fetch(`http://127.0.0.1:${process.env.DRAWBRIDGE_HTTP_PORT}/healthz`).then((r) => process.exit(r.ok ? 0 : 1))"]
# What it holds is bounded; a small heap keeps garbage from adding to it (docs/operations.md, Metrics).
CMD ["node", "--max-old-space-size=192", "--max-semi-space-size=4", "replicator/main.ts"]
