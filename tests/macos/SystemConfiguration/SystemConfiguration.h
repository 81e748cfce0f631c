/* SPDX-License-Identifier: MIT */
/* What <SystemConfiguration/SystemConfiguration.h> declares and we use, for tests/lint alone: see
 * sandbox.h above. */
#ifndef TESTS_MACOS_SYSTEMCONFIGURATION_H
#define TESTS_MACOS_SYSTEMCONFIGURATION_H

#include <CoreFoundation/CoreFoundation.h>

typedef const struct __SCDynamicStore *SCDynamicStoreRef;

extern const CFStringRef kSCPropNetProxiesExceptionsList;
extern const CFStringRef kSCPropNetProxiesExcludeSimpleHostnames;
extern const CFStringRef kSCPropNetProxiesHTTPEnable;
extern const CFStringRef kSCPropNetProxiesHTTPPort;
extern const CFStringRef kSCPropNetProxiesHTTPProxy;
extern const CFStringRef kSCPropNetProxiesHTTPSEnable;
extern const CFStringRef kSCPropNetProxiesHTTPSPort;
extern const CFStringRef kSCPropNetProxiesHTTPSProxy;
extern const CFStringRef kSCPropNetProxiesProxyAutoConfigEnable;
extern const CFStringRef kSCPropNetProxiesProxyAutoDiscoveryEnable;
extern const CFStringRef kSCPropNetProxiesSOCKSEnable;
extern const CFStringRef kSCPropNetProxiesSOCKSPort;
extern const CFStringRef kSCPropNetProxiesSOCKSProxy;

CFDictionaryRef SCDynamicStoreCopyProxies(SCDynamicStoreRef store);

#endif
