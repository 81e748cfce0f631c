/* SPDX-License-Identifier: MIT */
/*
 * macOS' settings of proxies, of the network service in use, from configd's dynamic store. See
 * system_proxy.h.
 *
 * What SystemConfiguration gives is checked there: a proxy that is enabled has a host, and a port. To
 * ask it is one message to configd. It would also tell of changes, but by a run loop or a dispatch
 * queue, and we have neither: the descriptor for that is not of its public interface.
 */
#include "ctl/system_proxy.h"

#include <CoreFoundation/CoreFoundation.h>
#include <SystemConfiguration/SystemConfiguration.h>
#include <string.h>

/* 0 where there is none. */
static int number_of(CFDictionaryRef all, CFStringRef key)
{
	CFTypeRef value = CFDictionaryGetValue(all, key);
	int number = 0;

	if (!value || CFGetTypeID(value) != CFNumberGetTypeID() ||
		!CFNumberGetValue(value, kCFNumberIntType, &number))
		return 0;
	return number;
}

/* False, and "", where it is no text, or longer. */
static bool text_of(CFTypeRef value, char *buf, size_t size)
{
	if (value && CFGetTypeID(value) == CFStringGetTypeID() &&
		CFStringGetCString(value, buf, (CFIndex)size, kCFStringEncodingUTF8))
		return true;
	*buf = '\0';
	return false;
}

static void read_servers(CFDictionaryRef all, struct system_proxy *settings)
{
	const struct {
		CFStringRef enabled, host, port;
	} keys[HOST_PROXY_KINDS] = {
		[HOST_PROXY_HTTP] = {kSCPropNetProxiesHTTPEnable, kSCPropNetProxiesHTTPProxy,
			kSCPropNetProxiesHTTPPort},
		[HOST_PROXY_HTTPS] = {kSCPropNetProxiesHTTPSEnable, kSCPropNetProxiesHTTPSProxy,
			kSCPropNetProxiesHTTPSPort},
		[HOST_PROXY_ALL] = {kSCPropNetProxiesSOCKSEnable, kSCPropNetProxiesSOCKSProxy,
			kSCPropNetProxiesSOCKSPort},
	};
	char host[PROXY_HOST_LEN];

	for (int i = 0; i < HOST_PROXY_KINDS; i++) {
		if (!number_of(all, keys[i].enabled))
			continue;
		text_of(CFDictionaryGetValue(all, keys[i].host), host, sizeof(host));
		system_proxy_put(
			settings, (enum host_proxy_of)i, host, number_of(all, keys[i].port));
	}
}

static void read_exceptions(CFDictionaryRef all, struct system_proxy *settings)
{
	CFArrayRef list = CFDictionaryGetValue(all, kSCPropNetProxiesExceptionsList);
	char item[NO_PROXY_LEN];

	if (number_of(all, kSCPropNetProxiesExcludeSimpleHostnames))
		system_proxy_except(settings, PROXY_SIMPLE_NAMES);
	if (!list || CFGetTypeID(list) != CFArrayGetTypeID())
		return;
	for (CFIndex i = 0; i < CFArrayGetCount(list); i++) {
		if (text_of(CFArrayGetValueAtIndex(list, i), item, sizeof(item)))
			system_proxy_except(settings, item);
		else
			settings->n_unknown++;
	}
}

bool system_proxy_read(struct system_proxy *settings)
{
	CFDictionaryRef all = SCDynamicStoreCopyProxies(NULL);

	if (!all)
		return false;
	memset(settings, 0, sizeof(*settings));
	read_servers(all, settings);
	read_exceptions(all, settings);
	settings->automatic = number_of(all, kSCPropNetProxiesProxyAutoConfigEnable) ||
		number_of(all, kSCPropNetProxiesProxyAutoDiscoveryEnable);
	CFRelease(all);
	return true;
}
