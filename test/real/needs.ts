// What `npm run test:real` needs of the machine that it runs on, and which of it is missing, each as a sentence that says what to do.
import { accessSync, constants, existsSync, statSync } from 'node:fs';
import { execFileSync } from 'node:child_process';
import { roles } from './network.ts';
import type { Paths } from './stage.ts';

export type Machine = {
  readonly platform: string;
  readonly isRoot: boolean;
  readonly hasIp: boolean;
  /** Whether a namespace could be made. */
  readonly hasNamespaces: boolean;
  readonly hasTun: boolean;
  readonly isExecutable: (path: string) => boolean;
};

/** Empty when nothing is missing. */
export function missingOf(machine: Machine, paths: Partial<Paths>): string[] {
  const programs = roles.flatMap((role) => {
    const path = paths[role];
    if (path === undefined)
      return [`the ${role}: give its path with --${role} or DRAWBRIDGE_REAL_${role.toUpperCase()}`];
    return machine.isExecutable(path) ? [] : [`the ${role}: ${path} is no program that can be started`];
  });
  if (machine.platform !== 'linux') return [...programs, 'Linux: network namespaces are a part of it'];
  return [
    ...programs,
    ...(machine.isRoot ? [] : ['root: namespaces and tunnel devices are made by root alone']),
    ...(machine.hasIp ? [] : ['ip: install iproute2']),
    ...(machine.hasIp && machine.isRoot && !machine.hasNamespaces
      ? ['network namespaces: `ip netns add` does not work here; in a container it takes --privileged']
      : []),
    ...(machine.hasTun ? [] : ['/dev/net/tun: load the module tun, or pass the device into the container']),
  ];
}

export function thisMachine(): Machine {
  const works = (...args: string[]) => {
    try {
      execFileSync('ip', args, { stdio: 'ignore' });
      return true;
    } catch {
      return false;
    }
  };
  const name = `db-needs-${process.pid}`;
  const hasIp = works('-V');
  const hasNamespaces = hasIp && works('netns', 'add', name) && works('netns', 'del', name);
  return {
    platform: process.platform,
    isRoot: process.getuid?.() === 0,
    hasIp,
    hasNamespaces,
    hasTun: existsSync('/dev/net/tun'),
    isExecutable: (path) => {
      try {
        accessSync(path, constants.X_OK);
        return statSync(path).isFile();
      } catch {
        return false;
      }
    },
  };
}
